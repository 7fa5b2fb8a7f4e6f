"""Two installs at once, kills in the middle, time that runs out, disks that refuse."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ailab.runtime.native.providers import installed, keys

pytestmark = pytest.mark.slow

Source = dict[str, Any]
ARCHIVE = Callable[..., Source]
# Tells that it runs, then waits until it is told to go on; a child of its own does the same.
BLOCKS = """
import os, pathlib, sys
here = pathlib.Path(sys.argv[1])
with open(here / "runs.txt", "a") as file:
    file.write("ran\\n")
if (here / "blocks").exists():
    told = os.open(here / "told", os.O_WRONLY)
    if os.fork() == 0:
        os.setsid()
    os.write(told, b"x")
    open(here / "go", "rb").read(1)
pathlib.Path("built").write_text("yes")
"""


@pytest.fixture
def blocking(lab: Any, archive: ARCHIVE) -> Source:
    """A source whose build step waits while native/blocks exists."""
    lab.write("native/build.py", BLOCKS)
    for name in ("told", "go"):
        os.mkfifo(lab.service / "native" / name)
    build = ["{python}", "{service}/native/build.py", str(lab.service / "native")]
    return archive(b"#!/bin/sh\n", build=build)


@pytest.fixture
def running(lab: Any, blocking: Source) -> Iterator[tuple["subprocess.Popen[str]", io.BufferedReader]]:
    """An install in the middle of its build step, and a pipe that ends when nothing of it runs any more."""
    (lab.service / "native" / "blocks").touch()
    process = lab.start(blocking)
    with process, (lab.service / "native" / "told").open("rb") as told:
        assert told.read(2) == b"xx"
        yield process, told
        process.kill()


def test_two_at_once_do_the_work_once(lab: Any, blocking: Source, running: Any) -> None:
    first, _ = running
    with lab.start(blocking) as second:
        waits = json.loads(second.stdout.readline())
        folder = keys.folder(lab.spec(blocking), lab.spec(blocking).sources[0])
        assert waits["step"] == "wait"
        assert waits["text"] == (f"another install (process {first.pid}) is making {folder.name}: waiting for it")
        (lab.service / "native" / "blocks").unlink()
        (lab.service / "native" / "go").write_bytes(b"gg")
        ends = [json.loads(process.stdout.read().splitlines()[-1]) for process in (first, second)]
    assert ends[0] == ends[1]
    assert ends[0]["path"] == str(folder)
    assert (first.wait(), second.returncode) == (0, 0)
    assert (lab.service / "native" / "runs.txt").read_text() == "ran\n"
    assert lab.left() == [folder.name]


def test_what_another_install_is_making_is_let_be(lab: Any, archive: ARCHIVE, running: Any) -> None:
    process, _ = running
    before = lab.left()
    code, events = lab.run(archive(b"y", "y"), name="other")
    assert code == 0
    assert not [event for event in events if event.get("step") == "clean"]
    assert lab.left() == sorted([*before, Path(events[-1]["path"]).name])
    (lab.service / "native" / "go").write_bytes(b"gg")
    assert json.loads(process.stdout.read().splitlines()[-1])["event"] == "done"


def test_kill_9_in_the_middle(lab: Any, blocking: Source, running: Any, archive: ARCHIVE) -> None:
    process, told = running
    process.kill()
    assert told.read() == b"", "what it started has ended"
    folder = keys.folder(lab.spec(blocking), lab.spec(blocking).sources[0])
    assert lab.left() == [f".tmp-{folder.name}", folder.name]
    assert installed(lab.spec(blocking)) is None
    (lab.service / "native" / "blocks").unlink()
    code, events = lab.run(blocking)
    assert code == 0
    assert events[0]["text"] == f"removing what an interrupted install left in {folder}"
    assert (folder / "built").read_text() == "yes"
    assert lab.left() == [folder.name]


def test_any_next_install_clears_what_a_killed_one_left(lab: Any, archive: ARCHIVE, running: Any) -> None:
    process, told = running
    process.kill()
    assert told.read() == b""
    code, events = lab.run(archive(b"y", "y"), name="other")
    assert code == 0
    assert lab.left() == [Path(events[-1]["path"]).name]


def test_sigterm_cleans_up(lab: Any, running: Any) -> None:
    process, told = running
    process.send_signal(signal.SIGTERM)
    assert told.read() == b"", "what it started has ended"
    assert process.wait() == 1
    assert json.loads(process.stdout.read().splitlines()[-1]) == {
        "event": "failed",
        "tried": [],
        "reason": "installing thing 1.0 was stopped",
        "way_out": "run the command again: it goes on from what was fetched",
    }
    assert lab.left() == []


def test_the_time_of_an_install_is_bounded(lab: Any, blocking: Source) -> None:
    (lab.service / "native" / "blocks").touch()
    reader = os.open(lab.service / "native" / "told", os.O_RDONLY | os.O_NONBLOCK)
    code, events = lab.run(blocking, timeout_s=1.5)
    assert code == 1
    assert events[-1]["tried"] == [{"source": "archive", "reason": "not done within 1.5 s (a slow line or machine: run it again, it goes on)"}]
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as told:
        assert told.read() in (b"x", b"xx")
    assert lab.left() == []


def test_waiting_for_another_install_is_bounded(lab: Any, archive: ARCHIVE) -> None:
    source = archive(b"x")
    folder = keys.folder(lab.spec(source), lab.spec(source).sources[0])
    lock = lab.store / ".locks" / f"{folder.name}.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, events = lab.run(source, timeout_s=0.5)
    assert code == 1
    assert events[0]["text"] == f"another install (process ?) is making {folder.name}: waiting for it"
    assert events[-1]["tried"][0]["reason"].startswith("not done within 0.5 s")


def test_nobody_reads_the_events(lab: Any, archive: ARCHIVE) -> None:
    process = lab.start(archive(b"x"))
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


MOVE = "free some space, or move the store: AILAB_STORE=/another/disk/store"


def test_a_full_disk(lab: Any, archive: ARCHIVE, in_mounts: Callable[..., tuple[str, ...]]) -> None:
    lab.store.mkdir()
    before = in_mounts(f"mount -t tmpfs -o size=1m none '{lab.store}'")
    source = archive(b"x" * 1000)
    code, events = lab.run(source, source, before=before, disk_mb=30)
    assert code == 1
    assert events[-1] == {
        "event": "failed",
        "tried": [{"source": "archive", "reason": f"{lab.store}: thing 1.0 needs 42 MB, 1 MB are free"}],
        "reason": f"{lab.store}: thing 1.0 needs 42 MB, 1 MB are free",
        "way_out": MOVE,
    }


def test_a_disk_that_fills_up(lab: Any, archive: ARCHIVE, in_mounts: Callable[..., tuple[str, ...]]) -> None:
    lab.store.mkdir()
    before = in_mounts(f"mount -t tmpfs -o size=15m none '{lab.store}'")
    lab.write("native/build.py", "open('big', 'wb').write(b'x' * 20_000_000)")
    source = archive(b"x" * 1000, build=["{python}", "{service}/native/build.py"])
    code, events = lab.run(source, archive(b"never tried", "y"), before=before)
    assert code == 1
    assert events[-1]["reason"] == (
        f"the disk is full (thing: the build step {sys.executable} {lab.service}/native/build.py; it said: OSError: [Errno 28] No space left on device)"
    )
    assert events[-1]["way_out"] == MOVE
    assert len(events[-1]["tried"]) == 1


def test_a_full_cache(lab: Any, archive: ARCHIVE, in_mounts: Callable[..., tuple[str, ...]]) -> None:
    lab.cache.mkdir()
    before = in_mounts(f"mount -t tmpfs -o size=1m none '{lab.cache}'")
    source = archive(b"x" * 1000)
    code, events = lab.run(source, before=before)
    assert code == 1
    assert events[-1]["reason"] == f"{lab.cache}: downloading {source['url']} needs 10 MB, 1 MB are free"


def test_a_read_only_store(lab: Any, archive: ARCHIVE, in_mounts: Callable[..., tuple[str, ...]]) -> None:
    lab.store.mkdir()
    before = in_mounts(f"mount --bind '{lab.store}' '{lab.store}'; mount -o remount,ro,bind '{lab.store}'")
    code, events = lab.run(archive(b"x"), before=before)
    assert code == 1
    assert events[-1]["reason"] == f"{lab.store}/.locks: the file system is read-only"
    assert events[-1]["way_out"] == "set AILAB_STORE to a folder that can be written"


def test_a_file_where_the_store_should_be(lab: Any, archive: ARCHIVE) -> None:
    lab.store.write_text("")
    code, events = lab.run(archive(b"x"))
    assert code == 1
    assert events[-1]["reason"] == f"{lab.store}/.locks: a file stands where a folder is needed"


def test_a_store_of_somebody_else(lab: Any, archive: ARCHIVE, need: Callable[..., str]) -> None:
    lab.store.mkdir(mode=0o555)
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        # Without its capabilities root is an owner like any other.
        before = (need("setpriv"), "--bounding-set=-all", "--inh-caps=-all")
    code, events = lab.run(archive(b"x"), before=before)
    assert code == 1
    assert events[-1]["reason"] == f"{lab.store}/.locks: this user may not write here"
    assert events[-1]["way_out"] == "make the folder yours, or set AILAB_STORE to one that is"


def test_folders_that_cannot_be_written_are_removed_too(lab: Any, archive: ARCHIVE) -> None:
    lab.write("native/build.py", "import os; os.makedirs('a/b'); open('a/b/c', 'w'); os.chmod('a/b', 0o500); raise SystemExit(1)")
    code, _ = lab.run(archive(b"x", build=["{python}", "{service}/native/build.py"]))
    assert code == 1
    assert lab.left() == []
    assert lab.store.stat().st_mode & 0o777 == 0o777 & ~_umask(), "the store itself is let be"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
