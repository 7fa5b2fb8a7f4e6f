"""Process trees: found whole whatever their members do, ended whole, gone with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_lab import PROGRAM, alive, kill, until

from ailab.runtime.native import process
from ailab.runtime.native.process import Mark

LAB = f"test-{os.getpid()}"
SLEEP = ["sleep", "1000"]
PYTHON = [sys.executable, "-I", "-S", str(PROGRAM)]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Where a test puts what it starts; ended with it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    process.kill_all([p.pid for p in processes], Mark.of(LAB))
    for child in processes:
        child.wait(10)


def start(started: list[subprocess.Popen[bytes]], argv: list[str], mark: Mark, env: dict[str, str] | None = None) -> int:
    name, value = mark.variable.split("=", 1)
    with open(os.devnull, "wb") as output:
        started.append(process.start(argv, {"PATH": os.environ["PATH"], name: value, **(env or {})}, "/", mark, output=output.fileno()))
    return started[-1].pid


@pytest.fixture
def strayed(started: list[subprocess.Popen[bytes]], tmp_path: Path) -> tuple[int, int]:
    """A leader and the daemon that it left behind: a new session, no environment, no parent."""
    path = tmp_path / "stray"
    leader = start(started, PYTHON, Mark.of(LAB, "pod/c", 7), {"STRAY": str(path)})
    until("the daemon runs", path.exists)
    pid = int(path.read_text())
    until("it has cleared its environment", lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    found = process.stat_of(pid)
    assert found
    assert found[0] != leader
    assert found[1] != leader
    return leader, pid


def test_a_session_and_its_descendants(started: list[subprocess.Popen[bytes]]) -> None:
    leader = start(started, ["sh", "-c", "sleep 1000 & setsid sleep 1001 & wait"], Mark.of(LAB))
    found = until("all three run", lambda: (t := process.tree([leader])) and len(t) == 3 and t)
    other = start(started, SLEEP, Mark.of(LAB))
    assert process.tree([leader]) == found
    assert process.kill_all([leader]) == 3
    assert not any(map(alive, found))
    assert alive(other)


def test_members_of_a_session_whose_leader_is_dead(started: list[subprocess.Popen[bytes]]) -> None:
    leader = start(started, ["sh", "-c", "sleep 1000 & exit"], Mark.of(LAB))
    started[-1].wait(10)
    [left] = process.tree([leader])
    process.kill_all([leader])
    assert not alive(left)


def test_a_daemon_that_shed_everything_is_found_by_its_mark(strayed: tuple[int, int]) -> None:
    leader, daemon = strayed
    assert daemon not in process.tree([leader])
    assert process.tree([], Mark.of(LAB)) == {leader, daemon}
    assert process.tree([], Mark.of(LAB, "pod/c", 7)) == {leader, daemon}
    assert process.tree([], Mark.of(LAB, "pod/c", 8)) == {leader}, "another start of the same container; the variable is the same"
    assert process.tree([], Mark.of(LAB, "pod/d", 9)) == set()
    assert process.tree([], Mark.of("another-lab", "pod/c", 7)) == set()
    assert process.kill_all([leader], Mark.of(LAB, "pod/c", 7)) == 2
    assert not alive(daemon)


def test_the_variable_alone_finds_members_too() -> None:
    """Where the limit could not be lowered."""
    with subprocess.Popen(SLEEP, env={**os.environ, process.LAB_MARK: LAB}) as child:
        until("it has its own environment", lambda: child.pid in process.tree([], Mark.of(LAB)))
        process.kill_all([], Mark.of(LAB))
        assert child.wait(10) == -signal.SIGKILL


def test_nobody_else_is_marked() -> None:
    assert process.tree([], Mark.of("a-lab-that-is-not")) == set()
    assert process.kill_all([], Mark.of("a-lab-that-is-not")) == 0
    assert not Mark.of(LAB).on(os.getpid())
    assert not Mark.of(LAB).on(2**22 + 1), "no such process"


PARENT = """
import sys, os
from ailab.runtime.native import process
child = process.start(sys.argv[1:], {"PATH": os.environ["PATH"]}, "/", process.Mark.of("x"), output=1)
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("not_root", [False, True])
def test_a_program_dies_with_its_parent(not_root: bool) -> None:
    if not_root and os.geteuid() != 0:
        pytest.skip("we are not root anyway")
    code = PARENT.replace("output=1", f"output=2, not_root={not_root}")
    with subprocess.Popen([sys.executable, "-P", "-c", code, *SLEEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        until("it runs", lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        assert ("65534" in Path(f"/proc/{pid}/uid_map").read_text()) == not_root
        kill(parent.pid)
        until("it died with its parent", lambda: not alive(pid))


def test_a_program_that_does_not_exist() -> None:
    with pytest.raises(FileNotFoundError), open(os.devnull, "wb") as output:
        process.start(["/nowhere/program"], {}, "/", Mark.of(LAB), output=output.fileno())


REAPER = """
import asyncio, os, subprocess
from ailab.runtime.native import process

async def main():
    reaper = process.Reaper()
    process.become_subreaper()
    argvs = [["sh", "-c", f"exit {n}"] for n in (0, 3)] + [["sh", "-c", "kill -9 $$"], ["sh", "-c", "sleep 0.1 & exit 4"]]
    children = [process.start(a, {"PATH": os.environ["PATH"]}, "/", process.Mark.of("x"), output=2) for a in argvs]
    print(*await asyncio.gather(*map(reaper.watch, children)), *(c.returncode for c in children))
    # The orphan has become our child; it is waited for as well.
    while any(s[0] == os.getpid() for p in process.pids() if (s := process.stat_of(p))):
        await asyncio.sleep(0.01)

asyncio.run(main())
"""


def test_reaper() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", REAPER], capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr) == ("0 3 -9 4 0 3 -9 4\n", "")


def test_memory() -> None:
    allocate = "import sys; data = bytearray(50_000_000); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", allocate], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        assert 50 < process.memory_mb([child.pid]) < 80
        assert process.memory_mb([child.pid, 2**22 + 1]) > 50
        child.communicate()
    assert process.memory_mb([]) == 0


def test_the_name_of_a_lab_is_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    name = process.lab_of(tmp_path / "a")
    assert name != process.lab_of(tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "moved")
    assert process.lab_of(tmp_path / "moved") == name


def test_a_program_ignores_no_signal_that_its_starter_ignores(started: list[subprocess.Popen[bytes]]) -> None:
    """As when `up` is called in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        leader = start(started, SLEEP, Mark.of(LAB))
    finally:
        signal.signal(signal.SIGINT, before)
    ignored = next(line for line in Path(f"/proc/{leader}/status").read_text().splitlines() if line.startswith("SigIgn:"))
    assert not int(ignored.split()[1], 16) & 1 << (signal.SIGINT - 1)
