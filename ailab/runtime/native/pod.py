"""One pod over its whole life: what it needs, its programs' installation, init containers, containers."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ailab.runtime.native import container, ports, process
from ailab.runtime.native.backoff import Backoff
from ailab.runtime.native.container import Runner
from ailab.runtime.native.installs import Failed
from ailab.runtime.native.logs import Log, Redactor, tail
from ailab.runtime.native.model import Pod
from ailab.runtime.native.slots import Slots

# A pod that takes longer than this to get ready lets the next one start beside it.
_SLOT_S = 60.0
_TAIL = 15


class Host(container.Host, Protocol):
    """What a pod needs of the supervisor."""

    log: Log
    slots: Slots
    redact: Redactor
    logs: Path
    log_bytes: int
    log_files: int

    async def install(self, providers: list[str], report: Callable[[str], None], first: bool) -> None:
        """Make sure that the providers are installed.

        Raises:
            Failed: one of them cannot be.
        """

    async def ready(self, pod: str) -> None:
        """Wait until a pod of that name is ready."""


class PodRunner:
    """Runs one pod until it is told to stop."""

    def __init__(self, spec: Pod, host: Host, state: Path) -> None:
        self.spec, self.host, self.folder = spec, host, state / "pods" / spec.name
        self.status, self.reason, self.began = "Pending", "", time.time()
        self.ready_in: float | None = None
        self.unavailable, self.way_out = False, ""
        self.runners: list[Runner] = []
        self.is_ready = asyncio.Event()
        self._slot = False
        self._overdue: asyncio.TimerHandle | None = None
        self._installed_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """End everything of the pod."""
        if self._task:
            self._task.cancel()
            # Whatever it died of has been shown; what counts now is that it is over.
            await asyncio.gather(self._task, return_exceptions=True)
        self._clear()
        self._set("Stopped")

    def _clear(self) -> None:
        """emptyDir volumes live as long as their pod, even when a kill -9 ended it."""
        for runner in self.runners:
            runner.log.close()
        shutil.rmtree(self.folder / "volumes", ignore_errors=True)
        shutil.rmtree(Path(process.memory_folder(self.host.lab)) / self.spec.name, ignore_errors=True)

    async def _run(self) -> None:
        backoff = Backoff()
        try:
            while True:
                try:
                    await self._start()
                    return
                except Failed as error:
                    self.unavailable, self.way_out = error.expected, error.way_out
                    self._set("Unavailable" if error.expected else "ImagePullBackOff", str(error))
                    if error.expected:
                        return
                except ports.Taken as error:
                    self._set("CreateContainerError", str(error))
                except OSError as error:
                    place = f"{error.filename}: " if error.filename else ""
                    self._set("CreateContainerError", f"{place}{error.strerror or error}")
                except Exception as error:  # a mistake of ours: shown like any other failure, not lost with a task
                    self._set("CreateContainerError", f"{type(error).__name__}: {error}")
                    self.host.log.line(traceback.format_exc())
                self._give_slot()
                await asyncio.sleep(max(backoff.next(0), 2))
        finally:
            self._give_slot()

    async def _start(self) -> None:
        spec = self.spec
        names = sorted({p for c in [*spec.init, *spec.containers] for p in c.providers})
        await self.host.install(names, lambda text: self._set("Pulling", text), spec.first)
        self._installed_at = time.time()
        for other in spec.requires:
            self._set("Waiting", f"for {other}")
            await self.host.ready(other)
        self._set("Pending", "")
        await self.host.slots.take((not spec.first, spec.name))
        self._slot = True
        self.began = time.time()
        self._clear()
        ports.require(spec.address, spec.ports)
        self._write()
        self.runners = [self._runner(c) for c in [*spec.init, *spec.containers]]
        inits, mains = self.runners[: len(spec.init)], self.runners[len(spec.init) :]
        for number, runner in enumerate(inits):
            await self._init(runner, f"Init:{number}/{len(inits)}")
        self._set("Running", "")
        for runner in mains:
            runner.yielding = not spec.first
        self._overdue = asyncio.get_running_loop().call_later(_SLOT_S, self._give_slot)
        async with asyncio.TaskGroup() as group:
            for runner in mains:
                group.create_task(runner.run(self._container_ready))

    async def _init(self, runner: Runner, status: str) -> None:
        backoff = Backoff()
        while True:
            self._set(status, "")
            began = time.monotonic()
            code = await runner.run_once()
            if code == 0:
                return
            runner.state.restarts += 1
            wait = backoff.next(time.monotonic() - began)
            self._set("Init:CrashLoopBackOff" if wait else "Init:Error", f"{runner.spec.name}: exit code {code}")
            await asyncio.sleep(wait)

    def _write(self) -> None:
        memory = Path(process.memory_folder(self.host.lab))
        memory.mkdir(mode=0o700, exist_ok=True)
        info = memory.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
            raise PermissionError(errno.EPERM, "another user made it first, and could read what is put there (remove it)", str(memory))
        for folder in self.spec.folders:
            Path(folder).mkdir(parents=True, exist_ok=True)
        config = self.folder / "config"
        if config.exists():
            shutil.rmtree(config)
        for file in self.spec.files:
            path = Path(file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.new")
            temporary.write_text(self.host.fill(file.content), "utf-8")
            temporary.chmod(file.mode)
            os.replace(temporary, path)

    def _runner(self, spec: Any) -> Runner:
        folder = self.folder / spec.name
        folder.mkdir(parents=True, exist_ok=True)
        host = self.host
        log = Log(host.logs / self.spec.name / f"{spec.name}.log", host.log_bytes, host.log_files, host.redact)
        return Runner(spec, self.spec.name, self.spec.address, folder, host, log, self.spec.grace)

    def _container_ready(self) -> None:
        if all(r.state.ready for r in self.runners[len(self.spec.init) :]):
            if self.ready_in is None:
                self.ready_in = time.time() - self.began
            self.is_ready.set()
            self._give_slot()

    def _give_slot(self) -> None:
        if self._overdue:
            self._overdue.cancel()
        if self._slot:
            self._slot = False
            self.host.slots.give()
            for runner in self.runners:
                runner.claim_cores()

    def _set(self, status: str, reason: str = "") -> None:
        if (status, reason) != (self.status, self.reason):
            self.status, self.reason = status, reason
            self.host.changed()

    @property
    def ready(self) -> bool:
        """Whether every container is ready now."""
        mains = self.runners[len(self.spec.init) :]
        return bool(mains) and all(r.state.ready for r in mains)

    def _worst(self) -> Runner | None:
        """Whose log tells why the pod is not ready: one that has failed, else one that makes us wait."""
        failed = [r for r in self.runners if r.state.last_exit not in (None, 0)]
        return next(iter([*failed, *(r for r in self.runners if r.state.pid and not r.state.ready)]), None)

    def report(self, memory: bool) -> dict[str, Any]:
        """What `status` shows, as JSON data; memory is PSS in MB."""
        mains = self.runners[len(self.spec.init) :]
        bad = next((r.state for r in mains if not r.state.ready), None)
        status = bad.status if self.status == "Running" and bad else self.status
        reason = bad.reason if self.status == "Running" and bad else self.reason
        report: dict[str, Any] = {
            "name": self.spec.name,
            "status": status,
            "reason": self.host.redact(reason),
            "way_out": self.way_out,
            "ready": self.ready,
            "unavailable": self.unavailable,
            "containers_ready": f"{sum(r.state.ready for r in mains)}/{len(self.spec.containers)}",
            "restarts": sum(r.state.restarts for r in self.runners),
            "began": self.began,
            "installed": self._installed_at,
            "ready_in": self.ready_in,
            "address": self.spec.address,
            "ports": self.spec.ports,
            "urls": self.spec.urls,
            "checksum": self.spec.checksum,
            "containers": [{"name": r.spec.name, **vars(r.state), "reason": self.host.redact(r.state.reason)} for r in self.runners],
        }
        if not self.ready and (worst := self._worst()):
            report["log"] = tail(worst.log.path, _TAIL)
        if memory:
            report["memory_limit_mb"] = sum(c.memory_limit_mb for c in self.spec.containers)
            report["memory_mb"] = process.memory_mb({p for r in self.runners for p in r.members()})
        return report
