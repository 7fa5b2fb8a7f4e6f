"""One container's life, with real processes, its probes' periods in hundredths of a second."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from small_lab import PROGRAM, alive, kill

from ailab.runtime.native import container, process
from ailab.runtime.native.container import Runner
from ailab.runtime.native.environment import MissingSecret
from ailab.runtime.native.logs import Log, Redactor
from ailab.runtime.native.model import Container, EnvEntry, Probe

ADDRESS = "127.123.0.1"
_ports = itertools.count(18840)


@dataclass
class Host:
    """What a container needs of a supervisor."""

    reaper: process.Reaper
    lab: str = f"container-{os.getpid()}"
    secrets: dict[str, str] = field(default_factory=dict)
    change: asyncio.Event = field(default_factory=asyncio.Event)

    def fill(self, text: str) -> str:
        return text.replace("%{provider:python}", sys.executable)

    def changed(self) -> None:
        self.change.set()
        self.change = asyncio.Event()


class Life:
    """A container that a test looks at while it runs."""

    def __init__(self, host: Host, folder: Path, name: str, grace: float, spec: dict[str, Any]) -> None:
        self.host, self.folder, self.port = host, folder / name, next(_ports)
        self.folder.mkdir()
        env = {"ADDRESS": ADDRESS, "PORT": str(self.port), **spec.pop("env", {})}
        entries = [EnvEntry(k, v) for k, v in env.items()] + spec.pop("secrets", [])
        probes = {k: Probe("http", self.port, f"/{k}", **spec.pop(k)) for k in ("startup", "liveness", "readiness") if isinstance(spec.get(k), dict)}
        argv = ["%{provider:python}", "-I", "-S", str(PROGRAM)]
        self.spec = Container(**{"name": name, "argv": argv, "env": entries, "providers": [], **spec, **probes})
        self.log = Log(folder / f"{name}.log", 10**6, 2, Redactor([]))
        self.runner = Runner(self.spec, "pod", ADDRESS, self.folder, host, self.log, grace)
        self.readied, self.states = 0, [""]
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.ensure_future(self.runner.run(self.on_ready))

    def on_ready(self) -> None:
        self.readied += 1

    @property
    def state(self) -> container.State:
        return self.runner.state

    def lines(self) -> list[str]:
        return [line.partition(" ")[2] for line in self.log.path.read_text().splitlines()]

    async def until(self, what: str, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + 10
        while not (found := condition()):
            assert time.monotonic() < end, f"not within 10 s: {what}; {self.state}; {self.lines()}"
            assert not (self.task and self.task.done()), f"its task ended: {self.task}"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.host.change.wait(), 0.02)
        return found

    async def ready(self) -> int:
        await self.until("it is ready", lambda: self.state.ready)
        return self.state.pid

    async def end(self) -> None:
        if self.task:
            self.task.cancel()
            await asyncio.wait([self.task])
        self.log.close()
        assert not process.tree([], self.runner.mark), "something is left"


@contextlib.asynccontextmanager
async def living(folder: Path, name: str = "it", grace: float = 5, host: Host | None = None, **spec: Any) -> AsyncIterator[Life]:
    """A container that ends with the test; `startup`, `liveness`, `readiness` are the numbers of HTTP probes on a path of that name."""
    made = Life(host or Host(process.Reaper()), folder, name, grace, spec)
    try:
        yield made
    finally:
        await made.end()


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in an event loop of its own."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        asyncio.run(test(**arguments))  # type: ignore[arg-type]

    return run


FAST = {"period": 0.05, "timeout": 2}


@in_loop
async def test_without_probes_it_is_ready_at_once(tmp_path: Path) -> None:
    async with living(tmp_path) as it:
        it.start()
        pid = await it.ready()
        assert (it.state.status, it.state.started, it.readied) == ("Running", True, 1)
        assert it.runner.members() == {pid}


@in_loop
async def test_a_crash_restarts_at_once_then_after_ten_seconds(tmp_path: Path) -> None:
    async with living(tmp_path, env={"SAY": "I begin", "CRASH": "3"}) as it:
        it.start()
        await it.until("it is in backoff", lambda: it.state.status == "CrashLoopBackOff")
        assert (it.state.restarts, it.state.last_exit, it.state.reason, it.state.pid) == (2, 3, "exit code 3", 0)
        once = ["I begin", "about to crash", "[ailab] ended (exit code 3); again in {} s"]
        assert it.lines() == [line.format(wait) for wait in (0, 10) for line in once]


@in_loop
async def test_readiness_counts(tmp_path: Path) -> None:
    async with living(tmp_path, readiness={**FAST, "successes": 3, "failures": 3}) as it:
        (it.folder / "readiness").touch()
        it.start()
        await it.until("its first probe failed", lambda: it.state.reason == "HTTP status 503")
        assert not it.state.ready
        (it.folder / "readiness").unlink()
        pid = await it.ready()
        (it.folder / "readiness").touch()
        await it.until("it is not ready any more", lambda: not it.state.ready)
        assert it.state.reason == "HTTP status 503"
        (it.folder / "readiness").unlink()
        assert await it.ready() == pid
        assert (it.readied, it.state.restarts, it.state.reason) == (2, 0, "")


@in_loop
async def test_a_startup_probe_holds_the_others_back_and_restarts(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with living(tmp_path, env={"WAIT_FOR": str(go)}, startup={**FAST, "failures": 3}, liveness={**FAST, "failures": 1}) as it:
        it.start()
        await it.until("it was restarted", lambda: it.state.restarts == 1)
        assert not it.state.started
        assert it.state.last_exit == -15
        go.touch()
        await it.ready()
        assert it.state.started
        assert any(line.startswith("[ailab] startupProbe failed 3 times: ") for line in it.lines())


@in_loop
async def test_a_liveness_probe_ends_the_old_one_and_spares_the_new_one(tmp_path: Path) -> None:
    """Several at once: the moment in which the old one's end and the new one's start meet is short."""
    host = Host(process.Reaper())
    async with contextlib.AsyncExitStack() as stack:
        lives = [await stack.enter_async_context(living(tmp_path, f"c{n}", host=host, liveness={**FAST, "failures": 2})) for n in range(6)]
        for it in lives:
            it.start()
        before = [await it.ready() for it in lives]
        for it in lives:
            (it.folder / "liveness").touch()
        for it in lives:
            await it.until("it is being ended", lambda it=it: it.state.last_exit is not None or it.state.status == "Terminating")  # type: ignore[misc]
            (it.folder / "liveness").unlink()
        for it in lives:
            await it.until("it was restarted", lambda it=it: it.state.restarts and it.state.ready)  # type: ignore[misc]
            assert (it.state.restarts, it.state.last_exit) == (1, -15)
            assert "[ailab] ended (livenessProbe failed 2 times: HTTP status 503); again in 0 s" in it.lines()
        assert not any(map(alive, before))


@in_loop
async def test_whoever_does_not_end_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    async with living(tmp_path, grace=0.3, env={"STUBBORN": "1"}, readiness=FAST) as it:
        it.start()
        pid, began = await it.ready(), time.monotonic()
        await it.end()
        assert 0.3 <= time.monotonic() - began < 3
        assert not alive(pid)


@in_loop
async def test_the_programs_own_stop_signal(tmp_path: Path) -> None:
    code = "import time\ntry: print('begun', flush=True); time.sleep(99)\nexcept KeyboardInterrupt: print('told')"
    async with living(tmp_path, stop_signal="SIGINT", argv=["%{provider:python}", "-I", "-S", "-c", code]) as it:
        it.start()
        await it.until("it can be told", lambda: it.lines() == ["begun"])
        await it.end()
        assert it.lines() == ["begun", "told"]


@in_loop
async def test_a_stop_during_a_liveness_restart(tmp_path: Path) -> None:
    async with living(tmp_path, grace=0.3, env={"STUBBORN": "1"}, readiness=FAST, liveness={**FAST, "failures": 1}) as it:
        it.start()
        pid = await it.ready()
        (it.folder / "liveness").touch()
        await it.until("it is being ended", lambda: it.state.status == "Terminating")
        await it.end()
        assert not alive(pid)
        assert it.runner._killing
        assert it.runner._killing.done(), "nobody is left who would kill the next one of this name"


@in_loop
async def test_a_hook(tmp_path: Path) -> None:
    good = tmp_path / "good"
    hook = ["sh", "-c", f'echo "hook of $NAME in $PWD"; test -e "{good}"']
    async with living(tmp_path, env={"NAME": "it"}, post_start=hook) as it:
        it.start()
        await it.until("it is in backoff", lambda: it.state.status == "CrashLoopBackOff")
        assert it.state.reason == f"postStart ended with exit code 1: hook of it in {it.folder}"
        assert not it.readied
    good.touch()
    async with living(tmp_path, "other", post_start=["%{provider:python}", "-c", "pass"]) as it:
        it.start()
        await it.ready()
        assert it.state.restarts == 0


@in_loop
async def test_a_hook_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_HOOK_S", 0.1)
    async with living(tmp_path, post_start=["sleep", "1000"]) as it:
        it.start()
        await it.until("it is in backoff", lambda: it.state.status == "CrashLoopBackOff")
        assert it.state.reason == "postStart did not end within 0.1 s"


@in_loop
async def test_exec_probes(tmp_path: Path) -> None:
    probe = Probe("exec", command=["sh", "-c", "sleep 1000 & echo no; exit 7"], period=0.05, timeout=0.3)
    async with living(tmp_path, readiness=probe) as it:
        it.start()
        # Its background job holds the output open: as long as that lasts the probe isn't over.
        await it.until("it said so", lambda: it.state.reason == "no answer within 0.3 s")
    probe = Probe("exec", command=["sh", "-c", "echo $NAME; exit 7"], period=0.05)
    async with living(tmp_path, "other", env={"NAME": "n"}, readiness=probe) as it:
        it.start()
        await it.until("it said so", lambda: it.state.reason == "exit code 7: n")


@in_loop
async def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    async with living(tmp_path, argv=["/nowhere/program"]) as it:
        it.start()
        await it.until("it is in backoff", lambda: it.state.status == "CrashLoopBackOff")
        assert it.state.reason == "cannot start: [Errno 2] No such file or directory: '/nowhere/program'"


@in_loop
async def test_a_missing_secret(tmp_path: Path) -> None:
    async with living(tmp_path, secrets=[EnvEntry("KEY", secret="KEY")]) as it:
        it.start()
        await it.until("it is in backoff", lambda: it.state.status == "CrashLoopBackOff")
        assert it.state.reason == "cannot start: .env has no value for KEY"
        with pytest.raises(MissingSecret):
            await it.runner.run_once()


@in_loop
async def test_what_it_leaves_behind_goes_with_it(tmp_path: Path) -> None:
    stray = tmp_path / "stray"
    async with living(tmp_path, env={"STRAY": str(stray)}, readiness=FAST) as it:
        it.start()
        pid = await it.ready()
        daemon = int(stray.read_text())
        kill(pid)
        await it.until("it is back", lambda: it.state.restarts == 1 and it.state.ready)
        assert it.state.last_exit == -9
        assert not alive(daemon)


@in_loop
async def test_an_init_container(tmp_path: Path) -> None:
    async with living(tmp_path, env={"SAY": "done", "DONE": "1"}) as it:
        assert await it.runner.run_once() == 0
        assert (it.state.status, it.state.last_exit, it.state.pid) == ("Completed", 0, 0)
        assert it.lines() == ["done"]
    async with living(tmp_path, "bad", env={"CRASH": "9"}) as it:
        assert await it.runner.run_once() == 9
        assert it.state.status == "Error"
        assert it.lines() == ["about to crash"], "its last words, though no line"
    async with living(tmp_path, "endless") as it:
        task = asyncio.ensure_future(it.runner.run_once())
        await it.until("it runs", lambda: it.state.pid)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert not alive(it.state.pid)


@in_loop
async def test_whoever_holds_the_output_open_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is none of the container's, say of a person who looks at it."""
    monkeypatch.setattr(container, "_DRAIN_S", 0.1)
    async with living(tmp_path, readiness=FAST) as it:
        it.start()
        pid = await it.ready()
        with open(f"/proc/{pid}/fd/1", "wb"):
            kill(pid)
            await it.until("it is back", lambda: it.state.restarts == 1 and it.state.ready)
