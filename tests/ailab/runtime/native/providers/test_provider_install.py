"""The command as the supervisor runs it: events, sources in order, build steps, mistakes of the repository."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ailab.runtime.native.providers import InstallError, install, installed, platform_name, shared_files

Source = dict[str, Any]
ARCHIVE = Callable[..., Source]


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
    assert [event["text"] for event in events[:-1] if event["step"] == "next"] == [
        f"archive: is for plan9-mips only; this machine is {platform_name()}",
        f"archive: there is no release for {platform_name()} (for: plan9-mips)",
        f"archive: {server.url('/gone')}: there is no such file (404; the release was moved, or the version in native.toml is wrong)",
    ]
    assert lab.left() == [Path(events[-1]["path"]).name]


def test_when_no_source_works(lab: Any, archive: ARCHIVE, server: Any) -> None:
    gone = archive(b"c") | {"url": server.url("/gone")}
    reason = f"{server.url('/gone')}: there is no such file (404; the release was moved, or the version in native.toml is wrong)"
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
    assert caught.value.way_out == ("each source's reason tells what it lacks: mend one, and run the command again")
    assert lab.left() == []


def test_a_build_step_that_fails(lab: Any, archive: ARCHIVE) -> None:
    lab.write("native/build.py", "print('one')\nraise SystemExit('no such model')")
    code, events = lab.run(archive(b"x", build=["{python}", "{service}/native/build.py"]))
    assert code == 1
    (tried,) = events[-1]["tried"]
    head, *said = tried["reason"].splitlines()
    assert head == (f"thing: the build step {sys.executable} {lab.service}/native/build.py ended with 1 and said last:")
    assert sorted(said) == ["    no such model", "    one"]
    assert lab.left() == []


def test_a_build_step_has_a_home_of_its_own_and_no_secrets(lab: Any, archive: ARCHIVE) -> None:
    lab.write(
        "native/build.py",
        "import json, os, pathlib\npathlib.Path('env.json').write_text(json.dumps([os.getcwd(), os.listdir(os.environ['HOME']), dict(os.environ)]))",
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
    code = "import os, sys; os.link(sys.argv[1], 'linked')"
    made = lab.spec(archive(b"x", build=["{python}", "-c", code, str(lab.service / "cache")]))
    assert (install(made).path / "linked").read_bytes() == b"shared", "a new link alone is no harm"
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
    ({"kind": "archive", "url": "http://127.0.0.1/{os}", "checksums": "x"}, "provider thing: {os} in 'http://127.0.0.1/{os}' names nothing "
     "(known: {version}, {arch})"),
    ({"kind": "debian", "packages": "native/none.lock"}, "{service}/native/none.lock: there is no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "message"), MISTAKES, ids=[message[:50] for _, message in MISTAKES])
def test_mistakes_of_the_repository_are_not_passed_over(lab: Any, archive: ARCHIVE, source: Source, message: str) -> None:
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
