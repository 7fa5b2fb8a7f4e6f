"""Gets providers installed: each once, a few at a time, what the first chat needs first; the work is a child process's."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

from ailab.runtime.native import process
from ailab.runtime.native.providers import BadSpec, Spec, installed
from ailab.runtime.native.slots import Slots

# Downloads wait for the network and compilation for a core, so a few side by side fill both.
_PARALLEL = 3
_KEPT = 60


class Failed(Exception):
    """A provider cannot be had.

    Attributes:
        way_out: what to do, as a sentence; may be empty.
        expected: native.toml says that some machines cannot have it; the lab is whole without it.
    """

    def __init__(self, reason: str, way_out: str, expected: bool) -> None:
        super().__init__(reason)
        self.way_out, self.expected = way_out, expected


class Installs:
    """All providers of a lab.

    Attributes:
        folders: where each installed provider stands.
        previous: where those stood that were made for an earlier plan; pods that did not change still run from there.
        environment: what installers get of the shell in which `up` was called: proxies, indexes, PATH.
    """

    def __init__(self, reaper: process.Reaper, lab: str, log: Callable[[str], None]) -> None:
        self.specs: dict[str, dict[str, Any]] = {}
        self.folders: dict[str, str] = {}
        self.previous: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self._reaper, self._lab, self._log = reaper, lab, log
        self._slots = Slots(_PARALLEL)
        self._running: dict[str, asyncio.Task[str]] = {}
        self._all: set[asyncio.Task[str]] = set()  # also those that nobody waits for any more

    def use(self, specs: dict[str, dict[str, Any]]) -> None:
        """Take the plan's providers; one whose definition changed is looked for anew."""
        for name in [n for n in {*self.folders, *self._running} if specs.get(n) != self.specs.get(n)]:
            if name in self.folders:
                self.previous[name] = self.folders.pop(name)
            self._running.pop(name, None)  # an installation that runs goes on for those who wait for it
        self.specs = specs

    async def ensure(self, names: list[str], report: Callable[[str], None], first: bool) -> None:
        """Return when all of them are installed.

        Raises:
            Failed: with the reason of the first that cannot be.
        """
        await asyncio.gather(*(self._one(n, report, first) for n in names))

    async def _one(self, name: str, report: Callable[[str], None], first: bool) -> str:
        if name in self.folders and os.path.isdir(self.folders[name]):  # the store may have been emptied
            return self.folders[name]
        task = self._running.get(name)
        if task is None or task.done():
            task = asyncio.ensure_future(self._make(name, report, first))
            self._running[name] = task
            self._all.add(task)
            task.add_done_callback(self._done)
        folder = await asyncio.shield(task)
        if self._running.get(name) is task:
            self.folders[name] = folder
        return folder

    def _done(self, task: asyncio.Task[str]) -> None:
        self._all.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has been told

    async def _make(self, name: str, report: Callable[[str], None], first: bool) -> str:
        spec = self.specs[name]
        needs = {n: await self._one(n, report, first) for n in spec["needs"]}
        spec = {**spec, "needs": needs}
        try:
            if found := installed(Spec.parse(spec)):
                return str(found)
        except (BadSpec, ValueError) as error:
            raise Failed(f"{name}: {error}", "", False) from error
        await self._slots.take((not first, -spec["download_mb"]))
        try:
            report(f"{name} {spec['version']}")
            return await self._child(name, spec, report)
        finally:
            self._slots.give()

    async def _child(self, name: str, spec: dict[str, Any], report: Callable[[str], None]) -> str:
        read, write = os.pipe()
        env = {**os.environ, **self.environment, process.LAB_MARK: self._lab}
        argv = [spec["python"], "-P", "-m", "ailab.runtime.native.providers", "install"]
        try:
            child = process.start(argv, env, "/", process.Mark.of(self._lab), output=write, stdin=subprocess.PIPE)
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
        ended = self._reaper.watch(child)
        assert child.stdin
        with child.stdin as stdin:
            stdin.write(json.dumps(spec).encode())
        last: dict[str, Any] = {}
        others: list[str] = []
        try:
            async for line in _lines(read):
                try:
                    event = json.loads(line)
                except ValueError:
                    others = [*others, line][-_KEPT:]
                    continue
                last = event
                if event.get("event") == "progress":
                    report(f"{name}: {event.get('text', event.get('step', ''))}")
            code = await ended
        except asyncio.CancelledError:
            child.terminate()
            raise
        if last.get("event") == "done":
            self._log(f"{name}: installed from {last.get('source')} at {last['path']}")
            return str(last["path"])
        expected = bool(spec.get("unavailable"))
        reason = last.get("reason") or f"the installer ended with exit code {code}: {' '.join(others[-3:])}"
        tried = "".join(f"\n  {t['source']}: {t['reason']}" for t in last.get("tried", []))
        self._log(f"{name}: {reason}{tried}")
        raise Failed(reason, last.get("way_out", ""), expected)


async def _lines(read: int) -> Any:
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    with os.fdopen(read, "rb", buffering=0) as file:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        try:
            while line := await reader.readline():
                yield line.decode("utf-8", "replace").rstrip("\n")
        finally:
            transport.close()
