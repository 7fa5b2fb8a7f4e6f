"""The parent of a supervisor: small, so that it is hard to kill by accident; ends orphans and starts the supervisor again.

    guard ── supervisor ── every program of the lab

Whoever of these dies by kill -9, the others notice: a program's death is the supervisor's to mend; the supervisor's death ends its
programs (the kernel signals them) and the guard starts a new one, which goes on with the remembered plan; the guard's death makes the
supervisor stop the lab in good order. What is left when both die at once, the next start finds by its mark and ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

from ailab.runtime.native import process

# A supervisor that lived this long is worth a quick restart; waits grow to this and then end.
_LIMIT_S = 30.0


def main() -> int:
    """`python -m ailab.runtime.native.guard STATE READY_FD`: run until the supervisor ends in good order."""
    state, ready = Path(sys.argv[1]), int(sys.argv[2])
    run = state / "run"
    run.mkdir(parents=True, exist_ok=True)
    lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _tell(ready, b"busy")
        return 0
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    process.become_subreaper()
    lab = process.lab_of(state)
    sweep(lab)
    wait = 0.5
    while True:
        began = time.monotonic()
        guard = os.getpid()
        child = os.fork()
        if child == 0:
            _child(state, ready, guard)
        if ready >= 0:
            os.close(ready)
            ready = -1
        asked = _wait(child)
        for number in (signal.SIGTERM, signal.SIGINT):  # there is nobody left to hand them to
            signal.signal(number, signal.SIG_DFL)
        sweep(lab)
        if asked:
            return 0
        wait = 1.0 if time.monotonic() - began > _LIMIT_S else wait * 2
        if wait > _LIMIT_S:
            print("the supervisor ended again and again; not started once more", file=sys.stderr)
            return 1
        time.sleep(wait)


def _child(state: Path, ready: int, guard: int) -> None:
    from ailab.runtime.native.server import run  # after the fork: the guard itself stays small

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    code = 70
    try:
        code = run(state, guard, lambda: _tell(ready, b"ready"))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _tell(ready: int, word: bytes) -> None:
    if ready >= 0:
        with contextlib.suppress(BrokenPipeError):  # whoever started us may be gone
            os.write(ready, word)
        os.close(ready)


def _wait(child: int) -> bool:
    """Wait for the supervisor, reaping orphans meanwhile; whether it ended in good order. Signals to us are its to act on."""

    def hand_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return os.waitstatus_to_exitcode(status) == 0


def holder(lock: int) -> int:
    """The guard's process id, as the file that it has locked says; 0 when no guard has it."""
    pid = int(os.pread(lock, 20, 0) or 0)
    with contextlib.suppress(OSError):
        if __spec__.name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    return 0


def sweep(lab: str) -> int:
    """End what an earlier supervisor left: our own children by now, and marked processes wherever they are; returns their number."""
    own = [pid for pid in process.pids() if (s := process.stat_of(pid)) and s[0] == os.getpid()]
    count = process.kill_all(own, process.Mark.of(lab))
    shutil.rmtree(process.memory_folder(lab), ignore_errors=True)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return count


if __name__ == "__main__":
    sys.exit(main())
