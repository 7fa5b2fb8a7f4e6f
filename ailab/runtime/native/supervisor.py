"""The supervisor of one lab: keeps the plan's pods running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from ailab.definition import dotenv
from ailab.runtime.native import model, process
from ailab.runtime.native.installs import Installs
from ailab.runtime.native.logs import Log, Redactor
from ailab.runtime.native.pod import PodRunner
from ailab.runtime.native.slots import Slots


class Stopping(Exception):
    """A change is asked for too late."""


class Supervisor:
    """Applies plans; implements what pods and containers need of their host."""

    def __init__(self, state: Path) -> None:
        self.state, self.logs = state, state / "logs"
        self.plan_file = state / "run" / "plan.json"
        self.reaper = process.Reaper()
        self.redact = Redactor([])
        self.secrets: dict[str, str] = {}
        self.plan: model.Plan | None = None
        self.pods: dict[str, PodRunner] = {}
        self.wanted: set[str] = set()
        self.lab = process.lab_of(state)
        self.log_bytes, self.log_files = 10_000_000, 5
        self.slots = Slots(2)
        self.log = Log(self.logs / "supervisor.log", self.log_bytes, self.log_files, self.redact)
        self.installs = Installs(self.reaper, self.lab, self.log.line)
        self.code = process.code_digest()
        self.stopping, self.ended = asyncio.Event(), asyncio.Event()
        self._changed = asyncio.Event()
        self._applying = asyncio.Lock()

    # What pods and containers need.

    def fill(self, text: str) -> str:
        """Put the providers' folders into a string of the plan."""
        if "%{" in text:
            for name, folder in {**self.installs.previous, **self.installs.folders}.items():
                text = text.replace(model.PROVIDER.format(name), folder)
        return text

    def changed(self) -> None:
        """Wake whoever watches."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def install(self, providers: list[str], report: Callable[[str], None], first: bool) -> None:
        """See `pod.Host`."""
        await self.installs.ensure(providers, report, first)

    async def ready(self, pod: str) -> None:
        """See `pod.Host`."""
        # A pod may be replaced while others wait for it: what counts is whoever bears its name now.
        while pod in self.wanted and not (pod in self.pods and self.pods[pod].is_ready.is_set()):
            await self._changed.wait()

    # What the command line asks for.

    async def apply(self, plan: model.Plan, only: list[str] | None, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Make what runs equal to a plan: stop what is gone or changed, start what is new.

        Args:
            plan: the lab.
            only: these pods and what they require; what runs beside them is left alone unless it changed.
            environment: the caller's, for installers; it may hold a proxy's password, so no file remembers it.
        """
        async with self._changing():
            self._take(plan)
            self.installs.environment = environment or self.installs.environment
            wanted = {p.name: p for p in plan.pods}
            if only is not None:
                keep = set(self.pods) | with_requirements(plan, only)
                wanted = {n: p for n, p in wanted.items() if n in keep}
            gone = [r for n, r in self.pods.items() if n not in wanted or wanted[n].checksum != r.spec.checksum]
            retried = [r for n, r in self.pods.items() if r not in gone and _gave_up(r)]
            self._remember(plan, sorted(wanted))
            self.wanted = set(wanted)
            await self._stop(gone + retried)
            fresh = [p for n, p in wanted.items() if n not in self.pods]
            self._start(fresh)
            self.plan = plan  # only now: what status says of it must be so
            return {"stopped": sorted(r.spec.name for r in gone), "started": sorted(s.name for s in fresh)}

    async def restart(self, names: list[str]) -> dict[str, Any]:
        """Replace pods by fresh ones of the same plan."""
        async with self._changing():
            specs = [self.pods[n].spec for n in dict.fromkeys(names) if n in self.pods]
            if self.plan:
                self._take(self.plan)  # secrets as they are now
            await self._stop([self.pods[s.name] for s in specs])
            self._start(specs)
            return {"restarted": [s.name for s in specs]}

    async def stop(self, names: list[str]) -> dict[str, Any]:
        """Stop some pods; they stay stopped until the next `up`."""
        async with self._changing():
            chosen = [self.pods[n] for n in dict.fromkeys(names) if n in self.pods]
            self.wanted -= {r.spec.name for r in chosen}
            if self.plan:
                self._remember(self.plan, sorted(self.wanted))
            await self._stop(chosen)
            return {"stopped": sorted(r.spec.name for r in chosen)}

    async def down(self) -> dict[str, Any]:
        """Stop everything and end."""
        self.stopping.set()
        async with self._applying:
            self.plan_file.unlink(missing_ok=True)
        await self.ended.wait()
        return {"stopped": True}

    async def end(self) -> None:
        """Stop everything once no change is under way; none begins any more."""
        async with self._applying:
            self.wanted = set()
            await self._stop(list(self.pods.values()))
        self.ended.set()
        self.changed()

    @contextlib.asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        async with self._applying:
            if self.stopping.is_set():
                raise Stopping("the lab is being stopped")
            yield

    def status(self, memory: bool = False) -> dict[str, Any]:
        """Everything that `status` shows."""
        plan = self.plan
        return {
            "lab": self.lab,
            "pid": os.getpid(),
            "code": self.code,
            "stopping": self.stopping.is_set(),
            "inputs": plan.inputs if plan else "",
            "planned": sorted(p.name for p in plan.pods) if plan else [],
            "missing": plan.missing if plan else {},
            "now": time.time(),
            "pods": [r.report(memory) for r in self.pods.values()],
            **({"supervisor_mb": process.memory_mb([os.getpid(), os.getppid()])} if memory else {}),
        }

    async def watch(self, send: Callable[[dict[str, Any]], Any]) -> None:
        """Send the status at each change, a few times a second at most."""
        while True:
            changed = self._changed
            await send(self.status())
            if self.ended.is_set():
                return
            await changed.wait()
            await asyncio.sleep(0.05)

    def _take(self, plan: model.Plan) -> None:
        values, _ = dotenv.parse(Path(plan.secrets).read_text("utf-8"), ".env")
        self.secrets = values
        # An address is no secret, and redacting it would make logs unreadable.
        self.redact = Redactor(v for k, v in values.items() if not k.endswith("_EMAIL"))
        self.log.redact = self.redact
        self.log_bytes, self.log_files = plan.log_bytes, plan.log_files
        if not self.pods:
            self.slots = Slots(plan.parallel_starts or max(2, len(os.sched_getaffinity(0))))
        self.installs.use(plan.providers)

    def _remember(self, plan: model.Plan, wanted: list[str]) -> None:
        temporary = self.plan_file.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(json.dumps({"wanted": wanted, "plan": model.dump(plan)}))
        os.replace(temporary, self.plan_file)

    def _start(self, specs: list[model.Pod]) -> None:
        for spec in specs:
            self.pods[spec.name] = PodRunner(spec, self, self.state)
            self.pods[spec.name].start()
        self.changed()

    async def _stop(self, runners: list[PodRunner]) -> None:
        """Stop pods in the order reversed to that of their start: whoever requires goes before what it requires."""
        left = {r.spec.name: r for r in runners}
        while left:
            needed = {n for r in left.values() for n in r.spec.requires if n != r.spec.name}
            batch = [r for n, r in left.items() if n not in needed] or list(left.values())
            await asyncio.gather(*(r.stop() for r in batch))
            for r in batch:
                del left[r.spec.name]
                self.pods.pop(r.spec.name, None)
        self.changed()

    async def recover(self) -> None:
        """Go on with the plan of a supervisor that died."""
        try:
            saved = json.loads(self.plan_file.read_text("utf-8"))
            plan = model.load(saved["plan"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.log.line(f"the remembered plan cannot be used: {error}")
            return
        self.log.line("going on with the plan of a supervisor that ended")
        try:
            await self.apply(plan, saved["wanted"])
        except (OSError, Stopping) as error:
            self.log.line(f"the remembered plan cannot be gone on with: {error}")


def _gave_up(runner: PodRunner) -> bool:
    """Whether its next try is its own no longer, or far away: who says `up` wants it now."""
    waits = any(r.state.status == "CrashLoopBackOff" for r in runner.runners)
    return waits or runner.status in ("Unavailable", "ImagePullBackOff", "CreateContainerError", "Init:CrashLoopBackOff", "Stopped")


def with_requirements(plan: model.Plan, names: list[str]) -> set[str]:
    """These pods and all that they require, directly or not."""
    specs = {p.name: p for p in plan.pods}
    found: set[str] = set()
    queue = [n for n in names if n in specs]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += [r for r in specs[name].requires if r in specs]
    return found
