"""The supervisor as a process: answers on a socket in the lab's folder until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ailab.runtime.native import model, process
from ailab.runtime.native.control import bind
from ailab.runtime.native.supervisor import Supervisor

_FAREWELL_S = 0.2
_LOOK_S = 5.0


async def serve(state: Path, on_ready: Callable[[], None]) -> None:
    """Run a supervisor until `down`, SIGTERM or SIGINT."""
    supervisor = Supervisor(state)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stopping.set)
    clients: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_client(supervisor, reader, writer))
        clients.add(task)
        task.add_done_callback(clients.discard)

    server = await asyncio.start_unix_server(connected, sock=bind(state))
    on_ready()
    await supervisor.recover()
    removed = asyncio.ensure_future(_end_with_folder(supervisor))
    await supervisor.stopping.wait()
    removed.cancel()
    supervisor.changed()
    await supervisor.end()
    server.close()
    # Whoever asked for the end is told; who says nothing isn't waited for.
    if clients:
        await asyncio.wait(clients, timeout=_FAREWELL_S)


async def _end_with_folder(supervisor: Supervisor) -> None:
    """A lab whose folder was removed can be found by nobody, and would run for ever."""
    with contextlib.suppress(OSError):
        while supervisor.lab == process.lab_of(supervisor.state):
            await asyncio.sleep(_LOOK_S)
    supervisor.stopping.set()


async def _client(supervisor: Supervisor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def send(data: dict[str, Any]) -> None:
        writer.write(json.dumps(data).encode() + b"\n")
        await writer.drain()

    with contextlib.suppress(ConnectionError, ValueError):
        while not supervisor.ended.is_set() and (line := await reader.readline()):
            try:
                await _answer(supervisor, json.loads(line), send)
            except ConnectionError:
                raise
            except Exception as error:  # a client's mistake must not end the lab; it is told what went wrong
                supervisor.log.line(f"request failed: {type(error).__name__}: {error}")
                await send({"error": f"{type(error).__name__}: {error}"})
    writer.close()


async def _answer(supervisor: Supervisor, request: dict[str, Any], send: Callable[[dict[str, Any]], Any]) -> None:
    match request.get("op"):
        case "status":
            await send(supervisor.status(bool(request.get("memory"))))
        case "apply":
            plan = model.load(Path(request["plan"]).read_text("utf-8"))
            await send(await supervisor.apply(plan, request.get("only"), request.get("environment")))
        case "restart":
            await send(await supervisor.restart(request["pods"]))
        case "stop":
            await send(await supervisor.stop(request["pods"]))
        case "watch":
            await supervisor.watch(send)
        case "end":
            supervisor.stopping.set()
            await send({"stopping": True})
        case "down":
            await send(await supervisor.down())
        case other:
            await send({"error": f"unknown request {other!r}"})


def run(state: Path, guard: int, on_ready: Callable[[], None]) -> int:
    """The supervisor as a process below its guard; returns its exit code."""
    process.die_with_parent(signal.SIGTERM)
    if os.getppid() != guard:  # it died before it could be asked to tell us
        return 0
    process.become_subreaper()
    asyncio.run(serve(state, on_ready))
    return 0
