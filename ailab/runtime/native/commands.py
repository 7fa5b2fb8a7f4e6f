"""Commands that run beside a container's program: probes and hooks; and what comes out of any of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from ailab.runtime.native import process

_OUTPUT_LIMIT = 10_000


async def run(argv: list[str], env: dict[str, str], cwd: str, mark: process.Mark, reaper: process.Reaper, timeout: float) -> tuple[int, str]:
    """Run a command to its end.

    Args:
        argv: the command.
        env: its whole environment.
        cwd: its working directory.
        mark: its container's.
        reaper: waits for it.
        timeout: bound of the whole, in seconds.

    Returns:
        exit code and the beginning of the output; 127 for a command that cannot be started.

    Raises:
        TimeoutError: it was killed.
    """
    read, write = os.pipe()
    try:
        child = process.start(argv, env, cwd, mark, output=write)
    except OSError as error:
        os.close(read)
        return 127, str(error)
    finally:
        os.close(write)
    output = bytearray()
    pumping = asyncio.ensure_future(pump(read, lambda data: output.extend(data[: _OUTPUT_LIMIT - len(output)])))
    try:
        async with asyncio.timeout(timeout):
            code = await reaper.watch(child)
            await pumping
        return code, output.decode("utf-8", "replace")
    finally:
        process.kill_all([child.pid])
        pumping.cancel()


async def pump(read: int, feed: Callable[[bytes], object]) -> None:
    """Hand on what comes through a pipe until its other end is closed."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    with os.fdopen(read, "rb", buffering=0) as file:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        try:
            while data := await reader.read(65536):
                feed(data)
        finally:
            transport.close()
