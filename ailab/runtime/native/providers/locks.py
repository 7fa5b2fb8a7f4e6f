"""One file lock, held by whoever does the work; it ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ailab.runtime.native.providers.progress import Budget

_POLL_S = 0.1


@contextmanager
def held(path: Path, budget: Budget, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds the lock, after waiting for whoever holds it within the budget.

    The file stays: were it removed, two processes could lock two files of one name.

    Args:
        waiting: told once, with the holder's process number, if there is a wait.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        told = False
        while not _taken(handle):
            if waiting and not told:
                waiting(os.pread(handle, 20, 0).decode(errors="replace").strip() or "?")
                told = True
            budget.wait(_POLL_S)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


@contextmanager
def held_at_once(path: Path) -> Iterator[bool]:
    """Holds the lock if nobody else does; yields whether it does."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _taken(handle)
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
