"""The command as the supervisor runs it: events, sources in order, two at once, kills, disks that refuse."""

import fcntl
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ailab.runtime.native.providers import BadSpec, InstallError, Spec, install, installed, keys, platform_name

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


def tar_gz(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_an_archive_is_made_once(lab: Any, archive: ARCHIVE, server: Any) -> None:
    source = archive(tar_gz({"x-1.0/bin/x": b"#!/bin/sh\n"}), "x-1.0-amd64.tar.gz", strip=1)
    source["url"] = source["url"].replace("1.0-amd64", "{version}-{arch}")
    source["arch"] = {platform_name(): "amd64"}
    code, events = lab.run(source)
    assert code == 0
    done = events.pop()
    path = Path(done["path"])
    assert done == {"event": "done", "path": str(path), "source": "archive", "version": "1.0"}
    assert {event["step"] for event in events} >= {"source", "archive", "download", "unpack"}
    assert all(event.keys() == {"event", "step", "text", "bytes", "total"} for event in events)
    assert path.parent == lab.store
    assert os.access(path / "bin" / "x", os.X_OK)
    assert lab.left() == [path.name]
    assert lab.run(source) == (0, [done]), "the second time nothing is done"
    assert lab.run(source, command="installed") == (0, [done])
    assert server.count["/x-1.0-amd64.tar.gz"] == 1
    assert installed(lab.spec(source)) == path


def test_installed_when_it_is_not(lab: Any, archive: ARCHIVE) -> None:
    assert lab.run(archive(b"x"), command="installed") == (1, [])


def test_the_python_api(lab: Any, archive: ARCHIVE) -> None:
    told: list[tuple[str, str, int | None, int | None]] = []
    found = install(lab.spec(archive(b"x" * 2000)), lambda *event: told.append(event))
    assert (found.source, found.version) == ("archive", "1.0")
    assert ("source", "thing 1.0 from archive", None, None) in told
    assert [event[2:] for event in told if event[0] == "download"][-1] == (2000, 2000)


def test_the_vendors_list_of_checksums(lab: Any, archive: ARCHIVE, server: Any) -> None:
    source = archive(b"program")
    right, wrong = source.pop("sha256")[platform_name()], "0" * 64
    url = server.file("/sums.txt", f"{wrong}  other\n{right.upper()} *dist/program\nnonsense\n".encode())
    assert lab.run(source | {"checksums": url})[0] == 0
    server.file("/sums.txt", f"{wrong}  other\n".encode())
    code, events = lab.run(source | {"checksums": url, "version": "2"})
    assert code == 1
    assert events[-1]["tried"] == [{"source": "archive", "reason": f"{url}: has no sha256 for program"}]
    server.file("/sums.txt", f"{right}\n".encode())
    assert lab.run(source | {"checksums": url, "version": "3"})[0] == 0


def test_the_first_source_that_can_be_had_is_taken(lab: Any, archive: ARCHIVE, server: Any) -> None:
    elsewhere = archive(b"a", "a") | {"platforms": ["plan9-mips"]}
    other_arch = archive(b"b", "b") | {"sha256": {"plan9-mips": "0" * 64}}
    gone = archive(b"c", "c") | {"url": server.url("/gone")}
    good = archive(b"d", "d", version="0.9")
    code, events = lab.run(elsewhere, other_arch, gone, good)
    assert code == 0
    assert (events[-1]["source"], events[-1]["version"]) == ("archive", "0.9")
    assert [event["text"] for event in events if event["step"] == "next"] == [
        f"archive: is for plan9-mips only; this machine is {platform_name()}",
        f"archive: there is no release for {platform_name()} (for: plan9-mips)",
        f"archive: {server.url('/gone')}: there is no such file "
        "(404; the release was moved, or the version in native.toml is wrong)",
    ] if "step" in events[0] else False
    assert lab.left() == [Path(events[-1]["path"]).name]


def test_when_no_source_works(lab: Any, archive: ARCHIVE, server: Any) -> None:
    gone = archive(b"c") | {"url": server.url("/gone")}
    reason = (
        f"{server.url('/gone')}: there is no such file "
        "(404; the release was moved, or the version in native.toml is wrong)"
    )
    code, events = lab.run(gone, gone, unavailable="Turn it off in lab.toml.")
    assert code == 1
    assert events[-1] == {
        "event": "failed",
        "tried": [{"source": "archive", "reason": reason}] * 2,
        "reason": "thing 1.0 can't be had on this machine, none of its 2 sources works",
        "way_out": "Turn it off in lab.toml.",
    }
    with pytest.raises(InstallError) as caught:
        install(lab.spec(gone))
    assert caught.value.reason == f"thing 1.0 can't be had on this machine: {reason}"
    assert caught.value.way_out == (
        "each source's reason tells what it lacks: mend one, and run the command again"
    )
    assert lab.left() == []


def test_a_build_step_that_fails(lab: Any, archive: ARCHIVE) -> None:
    lab.write("native/build.py", "print('one')\nraise SystemExit('no such model')")
    code, events = lab.run(archive(b"x", build=["{python}", "{service}/native/build.py"]))
    assert code == 1
    (tried,) = events[-1]["tried"]
    head, *said = tried["reason"].splitlines()
    assert head == (
        f"thing: the build step {sys.executable} {lab.service}/native/build.py ended with 1 and said last:"
    )
    assert sorted(said) == ["    no such model", "    one"]
    assert lab.left() == []


def test_a_build_step_has_a_home_of_its_own_and_no_secrets(lab: Any, archive: ARCHIVE) -> None:
    lab.write(
        "native/build.py",
        "import json, os, pathlib\n"
        "pathlib.Path('env.json').write_text(json.dumps([os.getcwd(), os.listdir(os.environ['HOME']), dict(os.environ)]))",
    )
    code, events = lab.run(
        archive(b"x", build=["{python}", "{service}/native/build.py"]),
        env={"OPENAI_API_KEY": "sk-1", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert code == 0
    path = Path(events[-1]["path"])
    cwd, home, env = json.loads((path / "env.json").read_text())
    assert cwd == str(path)
    assert home == []
    assert not Path(env["HOME"]).exists(), "it is gone with the install"
    assert not env.keys() & {"OPENAI_API_KEY", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}


def test_a_build_step_that_writes_into_shared_files(lab: Any, archive: ARCHIVE) -> None:
    (lab.service / "cache").write_bytes(b"shared")
    lab.write(
        "native/build.py",
        "import os, sys\n"
        "if sys.argv[1] == 'link': os.link(sys.argv[2], 'linked')\n"
        "else: open('linked', 'w').write('spoilt')\n",
    )
    code = "import os, sys; os.link(sys.argv[1], 'linked')"
    made = lab.spec(archive(b"x", build=["{python}", "-c", code, str(lab.service / "cache")]))
    assert (install(made).path / "linked").read_bytes() == b"shared", "a new link alone is no harm"
    from ailab.runtime.native.providers import shared_files

    folder = install(made).path
    before = shared_files.look(folder)
    assert shared_files.written(folder, before) == []
    (folder / "new").write_bytes(b"replaced")
    (folder / "new").rename(folder / "linked")
    assert shared_files.written(folder, before) == []
    (folder / "linked").unlink()
    (folder / "linked").hardlink_to(lab.service / "cache")
    (folder / "linked").write_bytes(b"spoilt")
    assert shared_files.written(folder, before) == [str(folder / "linked")]


MISTAKES: list[tuple[Source, str]] = [
    ({"kind": "debian", "packages": "native/wrong.lock"}, "{service}/native/wrong.lock:1: 'nonsense' is not `name version arch sha256`"),
    ({"kind": "maven", "lock": "native/wrong.lock"}, "{service}/native/wrong.lock:1: 'nonsense' is not `group:artifact:version[:classifier]:jar sha256`"),
    ({"kind": "python", "python": "new", "lock": "native/wrong.lock"}, "python = 'new': can't be read (write it like \">=3.11,<3.14\")"),
    ({"kind": "npm", "lock": "native"}, "{service}/native/package.json: there is no such file"),
    ({"kind": "npm", "lock": "native/npm"}, 'provider thing: kind npm needs the provider node (needs = ["node"])'),
    ({"kind": "archive", "url": "http://127.0.0.1/{os}", "checksums": "x"}, "provider thing: {os} in 'http://127.0.0.1/{os}' names nothing (known: {version}, {arch})"),
    ({"kind": "debian", "packages": "native/none.lock"}, "{service}/native/none.lock: there is no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "message"), MISTAKES, ids=[message[:50] for _, message in MISTAKES])
def test_mistakes_of_the_repository_are_not_passed_over(
    lab: Any, archive: ARCHIVE, source: Source, message: str
) -> None:
    lab.write("native/wrong.lock", "nonsense\n")
    lab.write("native/npm/package.json", "{}")
    lab.write("native/npm/package-lock.json", "{}")
    code, events = lab.run(source, archive(b"a source that works"))
    assert code == 1
    assert events[-1] == {
        "event": "failed",
        "tried": [],
        "reason": message.replace("{service}", str(lab.service)),
        "way_out": "correct native.toml or the lock that it names",
    }
    assert lab.left() == []


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        ("", "the spec on stdin is no JSON object (Expecting value: line 1 column 1 (char 0))"),
        ("[]", "the spec on stdin is no JSON object"),
        ("{}", "provider ?: name is missing, version is missing, service_dir is missing, sources is missing, "
         "store is missing, cache is missing"),
    ],
)  # fmt: skip
def test_a_spec_that_is_none(stdin: str, reason: str) -> None:
    done = _command(["install"], stdin)
    assert done.returncode == 1
    assert json.loads(done.stdout)["reason"] == reason
    assert done.stderr == ""


def test_usage() -> None:
    done = _command(["make"], "")
    assert done.returncode == 2
    assert "providers install|installed" in done.stderr


def _command(argv: list[str], stdin: str) -> "subprocess.CompletedProcess[str]":
    root = Path(__file__).resolve().parents[5]
    command = [sys.executable, "-m", "ailab.runtime.native.providers", *argv]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, cwd=root, check=False, env={**os.environ, "PYTHONPATH": str(root)}
    )  # fmt: skip


def test_two_at_once_do_the_work_once(lab: Any, blocking: Source, running: Any) -> None:
    first, _ = running
    with lab.start(blocking) as second:
        waits = [json.loads(second.stdout.readline()) for _ in range(1)][0]
        folder = keys.folder(lab.spec(blocking), lab.spec(blocking).sources[0])
        assert waits["step"] == "wait"
        assert waits["text"] == (
            f"another install (process {first.pid}) is making {folder.name}: waiting for it"
        )
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


def test_any_next_install_clears_what_a_killed_one_left(
    lab: Any, archive: ARCHIVE, running: Any
) -> None:
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
    assert events[-1]["tried"] == [
        {"source": "archive", "reason": "not done within 1.5 s (a slow line or machine: run it again, it goes on)"}
    ]
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


def test_a_full_disk(lab: Any, archive: ARCHIVE, in_mounts: Callable[..., tuple[str, ...]], server: Any) -> None:
    lab.store.mkdir()
    before = in_mounts(f"mount -t tmpfs -o size=1m none '{lab.store}'")
    lab.write("native/build.py", "open('big', 'wb').write(b'x' * 2_000_000)")
    source = archive(b"x" * 1000, build=["{python}", "{service}/native/build.py"])
    code, events = lab.run(source, source, before=before, disk_mb=30)
    assert code == 1
    assert events[-1] == {
        "event": "failed",
        "tried": [{"source": "archive", "reason": f"{lab.store}: thing 1.0 needs 42 MB, 1 MB are free"}],
        "reason": f"{lab.store}: thing 1.0 needs 42 MB, 1 MB are free",
        "way_out": MOVE,
    }
    before = in_mounts(f"mount -t tmpfs -o size=20m none '{lab.store}'; dd if=/dev/zero of='{lab.store}/x' bs=1M count=8 2>&-")
    code, events = lab.run(source, before=before)
    assert code == 1
    assert events[-1]["way_out"] == MOVE


def test_a_disk_that_fills_up(lab: Any, archive: ARCHIVE, in_mounts: Callable[..., tuple[str, ...]]) -> None:
    lab.store.mkdir()
    before = in_mounts(f"mount -t tmpfs -o size=15m none '{lab.store}'")
    lab.write("native/build.py", "open('big', 'wb').write(b'x' * 20_000_000)")
    source = archive(b"x" * 1000, build=["{python}", "{service}/native/build.py"])
    code, events = lab.run(source, archive(b"never tried", "y"), before=before)
    assert code == 1
    assert events[-1]["reason"] == (
        f"the disk is full (thing: the build step {sys.executable} {lab.service}/native/build.py; "
        "it said: OSError: [Errno 28] No space left on device)"
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


def test_the_spec_of_another_shape_is_no_traceback(lab: Any) -> None:
    with pytest.raises(BadSpec):
        Spec.parse(lab.data({"kind": 5}))
    assert hashlib.sha256(b"").hexdigest()
