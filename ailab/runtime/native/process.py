"""Programs as process trees: started so that they cannot outlive their supervisor, and ended whole."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

# prctl(2)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)

# Marks every process of a lab in its environment; found again through /proc after the supervisor's own death.
LAB_MARK, CONTAINER_MARK = "AILAB_LAB", "AILAB_CONTAINER"
# A killed process is gone in a few milliseconds; one that waits for a dead disk is not waited for.
_KILL_S = 5.0


def lab_of(state: Path) -> str:
    """The name that marks a lab's processes: its state folder's own identity."""
    info = state.stat()
    return f"{info.st_dev:x}-{info.st_ino:x}"


def memory_folder(lab: str) -> str:
    """Where a lab's volumes of memory are: a tmpfs that every Linux has; gone with the lab."""
    return f"/dev/shm/ailab-{lab}"


def code_digest() -> str:
    """A digest of the code that a supervisor runs: one that is older than the code on disk gets replaced."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def become_subreaper() -> None:
    """Orphans below this process become its children instead of init's."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Reaper:
    """Waits for every child of this process, its own and those it inherits as a subreaper."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def watch(self, process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
        """The exit code of a child just started (negative: the signal that ended it)."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._waiting[process.pid] = future
        future.add_done_callback(lambda f: setattr(process, "returncode", f.result() if not f.cancelled() else -9))
        return future

    def reap(self) -> None:
        """Collect every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            future = self._waiting.pop(pid, None)
            if future and not future.done():
                future.set_result(os.waitstatus_to_exitcode(status))


def start(
    argv: list[str], env: dict[str, str], cwd: str, *, output: int, stdin: int = subprocess.DEVNULL, not_root: bool = False
) -> subprocess.Popen[bytes]:
    """Start a program as the leader of a session of its own.

    Args:
        argv: the program, looked up on env's PATH, and its arguments.
        env: its whole environment.
        cwd: its working directory.
        output: file descriptor for stdout and stderr.
        stdin: file descriptor, or subprocess.PIPE.
        not_root: when we are root, run it in a user namespace in which it is not.

    Raises:
        OSError: when it cannot be started.
    """
    if not_root and os.geteuid() == 0:
        # A user that exists, for programs that look their own name up. Entering the namespace clears the parent-death signal of
        # some kernels: it is set again behind it.
        user = pwd.getpwnam("nobody")
        mapped = ["--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}"]
        argv = ["unshare", *mapped, "--", "setpriv", "--pdeathsig", "KILL", "--", *argv]
    return subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=stdin, stdout=output, stderr=output, start_new_session=True, preexec_fn=die_with_parent
    )  # fmt: skip


def stat_of(pid: int) -> tuple[int, int, str] | None:
    """Parent, session and state of a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    # The name in parentheses may hold anything; what counts comes behind its last parenthesis.
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[3]), fields[0]


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def pids() -> list[int]:
    """All processes that /proc shows."""
    return [int(e) for e in os.listdir("/proc") if e.isdigit()]


def tree(leaders: Iterable[int], marks: Iterable[str] = ()) -> set[int]:
    """The living processes of some sessions: members, descendants, and whoever carries one of the marks.

    Args:
        leaders: process ids of session leaders, living or dead.
        marks: NAME=value pairs, any of which in its environment makes a process a member.
    """
    stats = {pid: s for pid in pids() if (s := stat_of(pid)) and s[2] != "Z"}
    wanted, sought = set(leaders), [m.encode() for m in marks]
    found = {pid for pid, (_, session, _) in stats.items() if session in wanted or pid in wanted}
    if sought:
        found |= {pid for pid in stats if pid not in found and any(m in _environ(pid).split(b"\0") for m in sought)}
    grown = True
    while grown:
        grown = False
        for pid, (parent, _, _) in stats.items():
            if parent in found and pid not in found:
                found.add(pid)
                grown = True
    return found - {os.getpid()}


def kill_all(leaders: Iterable[int], marks: Iterable[str] = ()) -> int:
    """Kill -9 every process of these sessions until none is left; returns how many there were."""
    seen: set[int] = set()
    leaders, marks, end = set(leaders), list(marks), time.monotonic() + _KILL_S
    while (found := tree(leaders, marks)) and time.monotonic() < end:
        for pid in found - seen:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        seen |= found
        time.sleep(0.001)
    return len(seen)


def memory_mb(members: Iterable[int]) -> float:
    """Proportional set size (PSS) of some processes together, in MB; shared pages are counted once."""
    total = 0
    for pid in members:
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total * 1024 / 1e6
