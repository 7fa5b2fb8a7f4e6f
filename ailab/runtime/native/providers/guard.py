"""Runs one program and lets none of its descendants outlive it, or outlive the installer, however that one ends.

`python guard.py <installer's pid> program args…`; started as a file, so that it costs a bare interpreter and no more.
"""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_GRACE_S = 2.0


class _Told(Exception):
    """A signal to stop came."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _stop(_signum: int, _frame: FrameType | None) -> None:
    raise _Told


def _children() -> list[int]:
    """Pids of what this process is the parent of; as a subreaper it becomes the parent of every orphan below it."""
    mine = str(os.getpid()).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if after[1] == mine:
                found.append(int(entry.name))
    return found


def _end_all(grace: float) -> None:
    """Asks every descendant to end, then makes it."""
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    while children := _children():
        late = time.monotonic() >= deadline
        for pid in children:
            if late or pid not in asked:
                asked.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)


def main(parent: int, argv: list[str]) -> int:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, _stop)
    try:
        _prctl(_SET_CHILD_SUBREAPER, 1)
        _prctl(_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return 143
        child = os.fork()
        if child == 0:
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(signum, signal.SIG_DFL)
            # Python ignores these; a program expects them to be as the system sets them.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            # Should the guard itself be killed, its child goes with it.
            _prctl(_SET_PDEATHSIG, signal.SIGKILL)
            try:
                os.execvp(argv[0], argv)
            except OSError as error:
                os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
                os._exit(127)
        while True:
            pid, status = os.wait()
            if pid == child:
                break
        # What the program left running isn't wanted: nothing of it may hold the folder.
        _end_all(0.0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code
    except _Told:
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        _end_all(_GRACE_S)
        return 143


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
