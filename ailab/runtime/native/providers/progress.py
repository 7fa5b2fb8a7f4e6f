"""How far an install is, how much time it has left, and whether it was told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock

from ailab.runtime.native.providers.errors import SourceError, Stopped, scrub

# step, text, bytes so far, bytes in all (None: not known)
Report = Callable[[str, str, int | None, int | None], None]
_EVERY_S = 0.25


class Budget:
    """The time that one install may take, in all; also carries a stop to the threads that download."""

    def __init__(self, seconds: float, whole: Budget | None = None) -> None:
        self._whole = whole
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._stop = Event()

    def stop(self) -> None:
        self._stop.set()

    def part(self) -> Budget:
        """The same time, for threads that can be stopped by themselves."""
        return Budget(self.left(), self)

    def left(self, most: float = float("inf")) -> float:
        """Seconds left, at most `most`.

        Raises:
            SourceError: none is left.
            Stopped: the install was told to stop.
        """
        if self._whole:
            self._whole.left()
        if self._stop.is_set():
            raise Stopped
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise SourceError(f"not done within {self._seconds:g} s (a slow line or machine: run it again, it goes on)")
        return min(seconds, most)

    def wait(self, seconds: float) -> None:
        """Sleeps, unless the time is up or the install is told to stop."""
        self._stop.wait(self.left(seconds))
        self.left()


class Progress:
    """Steps and bytes, told at most four times a second. Threads may share one."""

    def __init__(self, report: Report | None = None) -> None:
        self._report = report
        self._lock = Lock()
        self._last = 0.0
        self._done = 0

    def step(self, step: str, text: str) -> None:
        if self._report:
            with self._lock:
                self._report(step, scrub(text), None, None)

    def restart(self) -> None:
        """A new download begins: count its bytes from zero."""
        with self._lock:
            self._done = 0

    def more(self, text: str, count: int, total: int | None) -> None:
        """Tells that `count` more bytes were fetched (fewer, when a download begins again)."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if self._report and (now - self._last >= _EVERY_S or self._done == total):
                self._last = now
                self._report("download", scrub(text), self._done, total)
