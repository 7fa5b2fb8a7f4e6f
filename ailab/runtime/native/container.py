"""One container's program over its whole life: start, hook, probes, restart with backoff, stop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ailab.runtime.native import commands, process
from ailab.runtime.native.backoff import Backoff
from ailab.runtime.native.environment import MissingSecret, expand, resolve
from ailab.runtime.native.logs import Log
from ailab.runtime.native.model import Container, Probe
from ailab.runtime.native.probes import ask

BASE_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
# Until it is ready a probe is asked this often, so that nobody waits for the next whole period: at first for what starts in no time.
_EAGER_S, _QUICK_S, _QUICK_TRIES = 0.2, 0.05, 10
_HOOK_S = 600.0
# Whoever ended has written all it will; a stranger who was handed its pipe isn't waited for.
_DRAIN_S = 1.0
_numbers = itertools.count(1)


class Host(Protocol):
    """What a container needs of the supervisor."""

    lab: str
    reaper: process.Reaper
    secrets: dict[str, str]

    def fill(self, text: str) -> str:
        """Put the providers' folders into a string of the plan."""

    def changed(self) -> None:
        """Something that status reports has changed."""


@dataclass
class State:
    """What status reports of a container."""

    status: str = "Waiting"
    started: bool = False
    ready: bool = False
    restarts: int = 0
    pid: int = 0
    reason: str = ""
    last_exit: int | None = None
    since: float = field(default_factory=time.time)


class Runner:
    """Runs one container until it is told to stop."""

    def __init__(self, spec: Container, pod: str, address: str, folder: Path, host: Host, log: Log, grace: float) -> None:
        self.spec, self.pod, self.address, self.folder = spec, pod, address, folder
        self.host, self.log, self.grace = host, log, grace
        self.state = State()
        self.mark = process.Mark.of(host.lab, f"{pod}/{spec.name}", next(_numbers))
        self.leaders: set[int] = set()
        self._backoff = Backoff()
        self.yielding = False
        self._kill_reason = ""
        self._killing: asyncio.Task[None] | None = None
        self._pump: asyncio.Task[None] | None = None
        self.argv: list[str] = []
        self.env: dict[str, str] = {}

    def prepare(self) -> None:
        """Make environment and arguments.

        Raises:
            MissingSecret: a variable of .env is needed and has no value.
        """
        home, tmp = self.folder / "home", self.folder / "tmp"
        for folder in (home, tmp):
            folder.mkdir(parents=True, exist_ok=True)
        fill = self.host.fill
        env = {k: fill(v) for k, v in resolve(self.spec.env, self.host.secrets).items()}
        path = ":".join([*map(fill, self.spec.path), BASE_PATH])
        base = {"PATH": path, "HOME": str(home), "TMPDIR": str(tmp), "LANG": "C.UTF-8"}
        label, container = self.mark.variable.split("=", 1)
        self.env = {**base, **env, process.LAB_MARK: self.host.lab, label: container}
        self.argv = [expand(fill(a), env) for a in self.spec.argv]

    async def run_once(self) -> int:
        """Run to the end, as an init container does; returns the exit code."""
        self._set("Running")
        code = await self._launch()
        self._set("Completed" if code == 0 else "Error", pid=0, last_exit=code)
        return code

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Keep the program running; ends only by cancellation."""
        try:
            while True:
                began = time.monotonic()
                code = await self._attempt(on_ready)
                reason = self._kill_reason or f"exit code {code}"
                wait = self._backoff.next(time.monotonic() - began)
                self.state.restarts += 1
                self._set("CrashLoopBackOff" if wait else "Waiting", pid=0, started=False, ready=False, last_exit=code, reason=reason)
                self.log.line(f"[ailab] ended ({reason}); again in {wait:g} s")
                await asyncio.sleep(wait)
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def _attempt(self, on_ready: Callable[[], None]) -> int:
        self._kill_reason = ""
        try:
            self.prepare()
            process_, ended = self._spawn(self.argv)
        except (OSError, MissingSecret) as error:
            self._kill_reason = f"cannot start: {error}"
            self.log.line(f"[ailab] {self._kill_reason}")
            return 127
        self._set("Running", pid=process_.pid)
        watcher = asyncio.ensure_future(self._watch(on_ready))
        try:
            code = await asyncio.shield(ended)
        finally:
            watcher.cancel()
            # Not `await watcher`: it could not tell the watcher's cancellation from our own.
            await asyncio.wait([watcher])
            if not watcher.cancelled() and (fault := watcher.exception()):
                self.log.line(f"[ailab] probing failed: {type(fault).__name__}: {fault}")
        await self._clear()
        return code

    async def _clear(self) -> None:
        """What the program started and left behind goes with it, and its last words get into the log."""
        if self._killing:  # it kills by our mark: whoever is started next must not be there yet
            await asyncio.wait([self._killing])
            self._killing = None
        process.kill_all(self.leaders, self.mark)
        self.leaders.clear()
        await self._drain()

    async def _drain(self) -> None:
        if self._pump:
            await asyncio.wait([self._pump], timeout=_DRAIN_S)
            self._pump.cancel()
        self.log.flush()

    async def _launch(self) -> int:
        self.prepare()
        child, ended = self._spawn(self.argv)
        self.state.pid = child.pid
        try:
            code = await asyncio.shield(ended)
        except asyncio.CancelledError:
            await self.stop()
            raise
        await self._clear()
        return code

    def _spawn(self, argv: list[str]) -> tuple[subprocess.Popen[bytes], asyncio.Future[int]]:
        read, write = os.pipe()
        try:
            child = process.start(argv, self.env, str(self.folder), self.mark, output=write, not_root=self.spec.not_root)
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
        self.leaders.add(child.pid)
        if self.yielding:
            process.yield_cores(child.pid, True)
        self._pump = asyncio.ensure_future(commands.pump(read, self.log.feed))
        return child, self.host.reaper.watch(child)

    def claim_cores(self) -> None:
        """No longer go behind what the first chat needs."""
        self.yielding = False
        for pid in self.leaders:
            process.yield_cores(pid, False)

    async def _watch(self, on_ready: Callable[[], None]) -> None:
        """The hook, then the probes; asks for a restart where they say so."""
        spec = self.spec
        if spec.post_start:
            try:
                code, output = await self.execute(spec.post_start, _HOOK_S)
            except TimeoutError:
                return self._restart(f"postStart did not end within {_HOOK_S:g} s")
            if code != 0:
                return self._restart(f"postStart ended with exit code {code}: {output.strip()[-300:]}")
        if spec.startup and not await self._startup(spec.startup):
            return self._restart(f"startupProbe failed {spec.startup.failures} times: {self.state.reason}")
        self._set(started=True)
        liveness = asyncio.ensure_future(self._liveness(spec.liveness)) if spec.liveness else None
        try:
            await self._readiness(spec.readiness, on_ready)
            if liveness:
                await liveness
        finally:
            if liveness:
                liveness.cancel()
        return None

    async def _startup(self, probe: Probe) -> bool:
        end = time.monotonic() + probe.initial_delay + probe.period * probe.failures
        await asyncio.sleep(probe.initial_delay)
        for tries in itertools.count():
            reason = await ask(probe, self.address, self.execute)
            self._set(reason=reason or "")
            if reason is None or time.monotonic() > end:
                break
            await asyncio.sleep(_eager(tries, probe))
        return reason is None

    async def _readiness(self, probe: Probe | None, on_ready: Callable[[], None]) -> None:
        if probe is None:
            self._set(ready=True, reason="")
            return on_ready()
        good = bad = 0
        while True:
            reason = await ask(probe, self.address, self.execute)
            if self._killing:
                return None
            good, bad = (0, bad + 1) if reason else (good + 1, 0)
            if good >= probe.successes and not self.state.ready:
                self._set(ready=True, reason="")
                on_ready()
            elif reason and (bad >= probe.failures or not self.state.ready):
                self._set(ready=False, reason=reason)
            await asyncio.sleep(probe.period if self.state.ready else _eager(bad, probe))

    async def _liveness(self, probe: Probe) -> None:
        await asyncio.sleep(max(probe.initial_delay, probe.period))
        bad = 0
        while True:
            reason = await ask(probe, self.address, self.execute)
            bad = bad + 1 if reason else 0
            if bad >= probe.failures:
                return self._restart(f"livenessProbe failed {bad} times: {reason}")
            await asyncio.sleep(probe.period)

    def _restart(self, reason: str) -> None:
        self._kill_reason = reason
        self.log.line(f"[ailab] {reason}")
        self._set(reason=reason, ready=False)
        self._killing = asyncio.ensure_future(self._end())

    async def execute(self, argv: list[str], timeout: float) -> tuple[int, str]:
        """Run a command in the container's environment: see `commands.run`."""
        words = [self.host.fill(a) for a in argv]
        return await commands.run(words, self.env, str(self.folder), self.mark, self.host.reaper, timeout)

    async def stop(self) -> None:
        """The stop signal, then after the grace period SIGKILL, to everything that the container started."""
        if self._killing:
            await asyncio.wait([self._killing])
        await self._end()

    async def _end(self) -> None:
        leaders = set(self.leaders)
        self._set("Terminating", ready=False)
        for pid in leaders:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.Signals[self.spec.stop_signal])
        end = time.monotonic() + self.grace
        while time.monotonic() < end and any((s := process.stat_of(p)) and s[2] != "Z" for p in leaders):
            await asyncio.sleep(0.02)
        process.kill_all(leaders, self.mark)
        self.host.reaper.reap()
        await self._drain()

    def members(self) -> set[int]:
        """The living processes of this container."""
        return process.tree(self.leaders)

    def _set(self, status: str | None = None, **values: object) -> None:
        before = dict(vars(self.state))
        if status:
            self.state.status = status
        for key, value in values.items():
            setattr(self.state, key, value)
        if vars(self.state) != before:
            if status or "ready" in values:
                self.state.since = time.time()
            self.host.changed()


def _eager(tries: int, probe: Probe) -> float:
    return min(_QUICK_S if tries < _QUICK_TRIES else _EAGER_S, probe.period)
