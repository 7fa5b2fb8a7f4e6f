"""Programs as process trees: started so that they cannot outlive their supervisor, and ended whole."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import os
import pwd
import resource
import signal
import subprocess
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

# prctl(2)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)

# Marks every process of a lab in its environment; found again through /proc after the supervisor's own death.
LAB_MARK, CONTAINER_MARK = "AILAB_LAB", "AILAB_CONTAINER"
# What a program can't shed by a new session and an empty environment: the limit of a thing that nobody uses (POSIX message queues). The hard
# one tells the lab, the soft one the container; all descendants inherit both, and /proc shows them. Below Linux' default, so that no right is needed.
_LIMIT = resource.RLIMIT_MSGQUEUE
_LIMIT_LINE = b"Max msgqueue size"
_SPAN = 400_000
# A killed process is gone in a few milliseconds; one that waits for a dead disk is not waited for.
_KILL_S = 5.0


def lab_of(state: Path) -> str:
    """The name that marks a lab's processes: its state folder's own identity."""
    info = state.stat()
    return f"{info.st_dev:x}-{info.st_ino:x}"


def memory_folder(lab: str) -> str:
    """Where a lab's volumes of memory are: a tmpfs that every Linux has; gone with the lab."""
    return f"/dev/shm/ailab-{lab}"


class Mark(NamedTuple):
    """By what the processes of a lab, or of one container, are found again.

    Attributes:
        variable: NAME=value in their environment.
        hard: their limit, which tells the lab.
        soft: the same for the container; 0: any.
    """

    variable: str
    hard: int
    soft: int = 0

    @classmethod
    def of(cls, lab: str, container: str = "", number: int = 0) -> Mark:
        """The mark of a lab or, with its name and its number, of a container."""
        variable = f"{CONTAINER_MARK}={lab}/{container}" if container else f"{LAB_MARK}={lab}"
        return cls(variable, _SPAN + zlib.crc32(lab.encode()) % _SPAN, number % _SPAN)

    def put(self) -> None:
        """Mark this process and all that it will start."""
        # Where this machine's limit is lower already, the variable alone must do.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(_LIMIT, (self.soft or self.hard, self.hard))

    def on(self, pid: int) -> bool:
        """Whether a process carries it."""
        if self.variable.encode() in _read(pid, "environ").split(b"\0"):
            return True
        for line in _read(pid, "limits").splitlines():
            if line.startswith(_LIMIT_LINE):
                soft, hard = line.removeprefix(_LIMIT_LINE).split()[:2]
                return hard == str(self.hard).encode() and self.soft in (0, int(soft) if soft.isdigit() else -1)
        return False


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
    argv: list[str], env: dict[str, str], cwd: str, mark: Mark, *, output: int, stdin: int = subprocess.DEVNULL, not_root: bool = False
) -> subprocess.Popen[bytes]:
    """Start a program as the leader of a session of its own.

    Args:
        argv: the program, looked up on env's PATH, and its arguments.
        env: its whole environment.
        cwd: its working directory.
        mark: by which it and its descendants are found again; env should hold its variable.
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

    def before() -> None:
        # A shell that starts commands in the background lets them ignore these, and whoever they start would do so too.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent()
        mark.put()

    return subprocess.Popen(argv, env=env, cwd=cwd, stdin=stdin, stdout=output, stderr=output, start_new_session=True, preexec_fn=before)


def yield_cores(leader: int, on: bool) -> None:
    """Let a session go behind the others where cores are short, or end that.

    The kernel shares cores between sessions (sched_autogroup); a session's nice value, unlike a process', may be taken back by anyone.
    Where there is no such sharing, nothing changes.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{leader}/autogroup").write_text("15" if on else "0")


def stat_of(pid: int) -> tuple[int, int, str] | None:
    """Parent, session and state of a process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    # The name in parentheses may hold anything; what counts comes behind its last parenthesis.
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[3]), fields[0]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def pids() -> list[int]:
    """All processes that /proc shows."""
    return [int(e) for e in os.listdir("/proc") if e.isdigit()]


def tree(leaders: Iterable[int], mark: Mark | None = None) -> set[int]:
    """The living processes of some sessions: members, descendants, and whoever carries the mark.

    Args:
        leaders: process ids of session leaders, living or dead.
        mark: makes whoever carries it a member.
    """
    stats = {pid: s for pid in pids() if (s := stat_of(pid)) and s[2] != "Z"}
    wanted = set(leaders)
    found = {pid for pid, (_, session, _) in stats.items() if session in wanted or pid in wanted}
    if mark:
        found |= {pid for pid in stats if pid not in found and mark.on(pid)}
    grown = True
    while grown:
        grown = False
        for pid, (parent, _, _) in stats.items():
            if parent in found and pid not in found:
                found.add(pid)
                grown = True
    return found - {os.getpid()}


def kill_all(leaders: Iterable[int], mark: Mark | None = None) -> int:
    """Kill -9 every process of these sessions, and whoever carries the mark, until none is left; returns how many there were."""
    seen: set[int] = set()
    leaders, end = set(leaders), time.monotonic() + _KILL_S
    while (found := tree(leaders, mark)) and time.monotonic() < end:
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
