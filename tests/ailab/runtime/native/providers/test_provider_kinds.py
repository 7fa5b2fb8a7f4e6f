"""Each kind with the real tools, over registries of this machine: no network."""

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ailab.runtime.native.providers import platform_name
from ailab.runtime.native.providers.kinds.debian import _ARCH
from ailab.runtime.native.providers.maven_settings import Repository, mirror
from ailab.runtime.native.providers.pip_settings import for_uv

NEED = Callable[..., str]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def wheels(tmp_path: Path) -> tuple[Path, str]:
    """A folder with one wheel that brings a module and a command, and the lock's line for it."""
    out = io.BytesIO()
    files = {
        "tiny.py": "def main():\n    print('it runs')\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.0.dist-info/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
    }
    files["tiny-1.0.dist-info/RECORD"] = "".join(f"{name},,\n" for name in [*files, "tiny-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(out, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "tiny-1.0-py3-none-any.whl").write_bytes(out.getvalue())
    return folder, f"tiny==1.0 \\\n    --hash=sha256:{sha256(out.getvalue())}\n"


@pytest.fixture
def offline(tmp_path: Path, wheels: tuple[Path, str]) -> dict[str, str]:
    """uv's settings: the folder is its only index."""
    return {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels[0]), "UV_CACHE_DIR": str(tmp_path / "uv cache"), "PYTHONDONTWRITEBYTECODE": "1"}


def test_python(lab: Any, wheels: tuple[Path, str], offline: dict[str, str]) -> None:
    lab.write("native/requirements.lock", wheels[1])
    source = {"kind": "python", "python": ">=3.11", "lock": "native/requirements.lock"}
    code, events = lab.run(source, env=offline)
    assert code == 0, events[-1]
    path = Path(events[-1]["path"])
    assert " " in str(path)
    run = subprocess.run([path / "bin" / "tiny"], capture_output=True, check=True)
    assert run.stdout == b"it runs\n", "its first line works in a folder with a space"
    assert list(path.glob("lib/python3*/site-packages/__pycache__/tiny.*.pyc")), "bytecode is there"
    assert not list(path.parent.glob(".tmp-*"))


def test_python_with_a_wheel_that_is_not_what_the_lock_says(lab: Any, wheels: tuple[Path, str], offline: dict[str, str]) -> None:
    lab.write("native/requirements.lock", "tiny==1.0 \\\n    --hash=sha256:" + "0" * 64)
    source = {"kind": "python", "python": ">=3.11", "lock": "native/requirements.lock"}
    code, events = lab.run(source, env=offline)
    assert code == 1
    assert events[-1]["tried"][0]["reason"].startswith(
        "uv: installing thing 1.0 from native/requirements.lock: what came isn't what the lock says (a broken or changed download; it was not used); it said: "
    )
    assert "a download was not what the lock says: once more" in [event.get("text") for event in events]
    assert lab.left() == []


def test_python_without_its_index(lab: Any, wheels: tuple[Path, str], tmp_path: Path, server: Any) -> None:
    lab.write("native/requirements.lock", wheels[1])
    server.paths["/simple/tiny/"] = lambda request: request.answer(403)
    source = {"kind": "python", "python": ">=3.11", "lock": "native/requirements.lock"}
    index = server.url("/simple").replace("//", "//me:s3cret@")
    env = {"UV_DEFAULT_INDEX": index, "UV_CACHE_DIR": str(tmp_path / "uv cache")}
    code, events = lab.run(source, env=env)
    assert code == 1
    assert "uv: installing thing 1.0 from native/requirements.lock: its registry refused the request" in events[-1]["reason"]
    assert "s3cret" not in json.dumps(events)


def test_python_without_an_interpreter(lab: Any, tmp_path: Path) -> None:
    lab.write("native/requirements.lock", "")
    shims = tmp_path / "shims"
    shims.mkdir()
    here = sys.version_info.minor
    other = next(minor for minor in (14, 13, 12, 11) if minor != here)
    (shims / f"python3.{other}").write_text("#!/bin/sh\nexit 127\n")
    (shims / f"python3.{other}").chmod(0o755)
    source = {"kind": "python", "python": f"==3.{other}.*", "lock": "native/requirements.lock"}
    env = {"PATH": str(shims), "UV_PYTHON_DOWNLOADS": "never", "UV_PYTHON_INSTALL_DIR": str(tmp_path / "none"), "UV_NO_INDEX": "1"}
    code, events = lab.run(source, env=env)
    assert code == 1
    assert events[-1]["tried"][0]["reason"].startswith(
        f"no Python ==3.{other}.* is on this machine (install one, or let uv fetch it); uv: making thing 1.0's environment "
    )


def test_maven_from_the_machines_mirror(lab: Any, server: Any, tmp_path: Path) -> None:
    jar, native = b"PK a jar", b"PK another"
    server.file("/maven/org/thing/core/1.0/core-1.0.jar", jar)
    server.file("/maven/org/thing/core/1.0/core-1.0-linux.jar", native)
    lab.write("native/maven.lock", f"org.thing:core:1.0:jar {sha256(jar)}\norg.thing:core:1.0:linux:jar {sha256(native)}\n")
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text(
        f"<settings><mirrors><mirror><id>ours</id><mirrorOf>*</mirrorOf><url>{server.url('/maven/')}</url></mirror></mirrors>"
        "<servers><server><id>ours</id><username>me</username><password>${env.MAVEN_WORD}</password></server></servers></settings>"
    )
    source = {"kind": "maven", "lock": "native/maven.lock", "coordinates": ["org.thing:core:1.0"]}
    env = {"HOME": str(tmp_path), "MAVEN_WORD": "s3cret"}
    code, events = lab.run(source, env=env, download_mb=0.000018)
    assert code == 0, events[-1]
    path = Path(events[-1]["path"])
    assert {file.name: file.read_bytes() for file in path.glob("*.jar")} == {"core-1.0.jar": jar, "core-1.0-linux.jar": native}
    assert {password for _, _, password in server.asked} == {"Basic bWU6czNjcmV0"}
    assert [event["bytes"] for event in events if event.get("step") == "download"][-1] == 18
    assert (path / "core-1.0.jar").stat().st_nlink == 2, "the cache and the store share its bytes"

    server.file("/maven/org/thing/core/1.0/core-1.0.jar", b"evil")
    del server.paths["/maven/org/thing/core/1.0/core-1.0-linux.jar"]
    lab.cache.rename(tmp_path / "the old cache")
    code, events = lab.run({**source, "version": "2"}, env=env)
    assert code == 1
    assert "core-1.0" in events[-1]["reason"]


def test_mavens_settings(tmp_path: Path) -> None:
    settings = tmp_path / "settings.xml"
    assert mirror(settings) is None

    def written(of: str, url: str = "https://mirror.example/maven2/") -> Repository | None:
        settings.write_text(f'<settings xmlns="urn:any"><mirrors><mirror><id>a</id><mirrorOf>{of}</mirrorOf><url>{url}</url></mirror></mirrors></settings>')
        return mirror(settings)

    found = Repository("https://mirror.example/maven2")
    assert written("central") == written("*") == written("external:*, !internal") == found
    assert written("*,!central") is None
    assert written("external:http:*", "http://0.0.0.0/") is None
    assert written("*", "file:///repo") is None


def test_git(lab: Any, need: NEED, wheels: tuple[Path, str], offline: dict[str, str], tmp_path: Path) -> None:
    git = need("git")
    repository = tmp_path / "a repository"

    def call(*words: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
        command = [git, *identity, "-C", str(repository), *words]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    repository.mkdir()
    call("init", "--quiet")
    (repository / "app.py").write_text("print('one')\n")
    call("add", ".")
    call("commit", "--quiet", "-m", "one")
    first = call("rev-parse", "HEAD")
    (repository / "app.py").write_text("print('two')\n")
    call("commit", "--quiet", "-a", "-m", "two")
    call("config", "uploadpack.allowAnySHA1InWant", "true")
    lab.write("native/requirements.lock", wheels[1])
    source = {"kind": "git", "url": repository.as_uri(), "commit": first, "lock": "native/requirements.lock", "python": ">=3.11"}
    code, events = lab.run(source, env=offline)
    assert code == 0, events[-1]
    path = Path(events[-1]["path"])
    assert (path / "src" / "app.py").read_text() == "print('one')\n"
    assert not (path / "src" / ".git").exists()
    assert subprocess.run([path / "venv" / "bin" / "tiny"], capture_output=True, check=True).stdout == b"it runs\n"

    code, events = lab.run({**source, "commit": "0" * 40})
    assert code == 1
    assert events[-1]["tried"][0]["reason"] == f"{repository.as_uri()} has no commit 000000000000 (any more)"


def test_debian(lab: Any, need: NEED, tmp_path: Path) -> None:
    """A repository of this machine stands in for Debian's, told to apt by its own settings."""
    arch = _ARCH[platform_name()]
    dpkg, apt_get = need("dpkg-deb"), need("apt-get")
    repository = tmp_path / "repository"
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/tiny").write_text("#!/bin/sh\necho it runs\n")
    (tree / "usr/bin/tiny").chmod(0o755)
    control = f"Package: tiny\nVersion: 1:1.0-1\nArchitecture: {arch}\nMaintainer: a <a@example.org>\nDescription: tiny\n"
    (tree / "DEBIAN/control").write_text(control)
    repository.mkdir()
    package = repository / "tiny.deb"
    subprocess.run([dpkg, "--root-owner-group", "--build", str(tree), str(package)], check=True, capture_output=True)
    digest = sha256(package.read_bytes())
    index = f"{control}Filename: ./tiny.deb\nSize: {package.stat().st_size}\nSHA256: {digest}\n"
    (repository / "Packages").write_text(index)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    (tmp_path / "apt.conf").write_text(f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\nAPT::Architecture "{arch}";\n')
    assert apt_get
    env = {"APT_CONFIG": str(tmp_path / "apt.conf")}
    lab.write("native/debian.lock", f"tiny 1:1.0-1 {arch} {digest}\ntiny 1:1.0-1 m68k {'0' * 64}\n")
    source = {"kind": "debian", "packages": "native/debian.lock"}
    code, events = lab.run(source, env=env)
    assert code == 0, events[-1]
    path = Path(events[-1]["path"])
    assert subprocess.run([path / "usr/bin/tiny"], capture_output=True, check=True).stdout == b"it runs\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o755 == 0o755
    assert "reading Debian's lists of packages" in [event["text"] for event in events[:-1]]

    package.unlink()
    code, events = lab.run({**source, "version": "2"}, env=env)
    assert code == 0, "what the cache holds needs no apt"

    lab.write("native/debian.lock", f"tiny 1:2.0-1 {arch} {'1' * 64}\n")
    code, events = lab.run(source, env=env)
    assert code == 1
    assert events[-1]["tried"] == [{"source": "debian", "reason": "this machine's release of Debian or Ubuntu does not have tiny 1:2.0-1"}]
    lab.write("native/debian.lock", f"tiny 1:2.0-1 m68k {'1' * 64}\n")
    code, events = lab.run(source, env=env)
    assert events[-1]["tried"][0]["reason"] == f"native/debian.lock has no package for {platform_name()}"
    assert lab.left() == sorted([path.name, *[name for name in lab.left() if name != path.name]])


def test_debian_with_a_package_that_is_not_what_the_lock_says(lab: Any, need: NEED, tmp_path: Path) -> None:
    need("dpkg-deb")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "apt-get").write_text("#!/bin/sh\necho evil > tiny.deb\n")
    (bin_ / "apt-get").chmod(0o755)
    lab.write("native/debian.lock", f"tiny 1.0 all {'1' * 64}\n")
    code, events = lab.run({"kind": "debian", "packages": "native/debian.lock"}, env={"PATH": f"{bin_}:{os.environ['PATH']}"})
    assert code == 1
    assert events[-1]["tried"][0]["reason"] == ("tiny 1.0: apt's download is not what native/debian.lock says (sha256 differs); it was thrown away")


def test_go(lab: Any, need: NEED, tmp_path: Path) -> None:
    """A folder stands in for the proxy; the program is C-free, so that a cold build cache takes seconds."""
    need("go")
    proxy = tmp_path / "proxy" / "example.org" / "tiny" / "@v"
    proxy.mkdir(parents=True)
    top = "example.org/tiny@v1.2.3"
    files = {"go.mod": "module example.org/tiny\n\ngo 1.20\n", "cmd/tiny/main.go": 'package main\n\nfunc main() { println("it runs") }\n'}
    with zipfile.ZipFile(proxy / "v1.2.3.zip", "w") as bundle:
        for name, text in files.items():
            bundle.writestr(f"{top}/{name}", text)
    (proxy / "v1.2.3.mod").write_text(files["go.mod"])
    (proxy / "v1.2.3.info").write_text('{"Version": "v1.2.3", "Time": "2026-01-01T00:00:00Z"}')
    (proxy / "list").write_text("v1.2.3\n")
    env = {"GOPROXY": (tmp_path / "proxy").as_uri(), "GONOSUMDB": "*", "GONOSUMCHECK": "1", "GOSUMDB": "off",
           "GOMODCACHE": str(tmp_path / "modules")}  # fmt: skip
    source = {"kind": "go", "module": "example.org/tiny", "package": "./cmd/tiny", "version": "v1.2.3", "env": {"CGO_ENABLED": "0"}}
    code, events = lab.run(source, env=env)
    assert code == 0, events[-1]
    run = subprocess.run([Path(events[-1]["path"]) / "bin" / "tiny"], capture_output=True, check=True)
    assert run.stderr == b"it runs\n"
    code, events = lab.run({**source, "version": "v9.9.9"}, env=env)
    assert code == 1
    assert events[-1]["tried"][0]["reason"].startswith("go: building thing v9.9.9 ended with 1 and said last:\n")
    subprocess.run(["chmod", "-R", "u+w", str(tmp_path / "modules")], check=True)


def test_npm_needs_a_node_with_npm(lab: Any, tmp_path: Path) -> None:
    lab.write("native/npm/package.json", "{}")
    lab.write("native/npm/package-lock.json", "{}")
    code, events = lab.run({"kind": "npm", "lock": "native/npm"}, needs={"node": str(tmp_path)})
    assert code == 1
    assert events[-1]["tried"][0]["reason"] == f"{tmp_path}: has no node with npm in it (the provider node must bring both)"


@pytest.mark.parametrize(
    ("kind", "source", "reason"),
    [
        ("git", {"url": "https://example.org/x", "commit": "0" * 40}, "git is not on this machine (install git)"),
        ("go", {"module": "x", "version": "v1"}, "go is not on this machine (install Go, or take another source)"),
        (
            "debian",
            {"packages": "native/debian.lock"},
            "dpkg-deb is not on this machine (this source is for Debian and Ubuntu)",
        ),
    ],
)
def test_tools_that_are_missing(lab: Any, tmp_path: Path, kind: str, source: dict[str, Any], reason: str) -> None:
    lab.write("native/debian.lock", f"tiny 1.0 all {'1' * 64}\n")
    code, events = lab.run({"kind": kind, **source}, env={"PATH": str(tmp_path)})
    assert code == 1
    assert events[-1]["tried"] == [{"source": kind, "reason": reason}]


def test_pips_settings_are_uvs(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://index.example/simple\ntimeout = 60\n"
        "[install]\ntrusted-host =\n    a.example\n    b.example\n[list]\nindex-url = https://other\n"
    )
    base = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    told = for_uv({**base, "PIP_EXTRA_INDEX_URL": "https://e1 https://e2", "PIP_FIND_LINKS": f"{tmp_path}/links {tmp_path}/none"})
    assert (
        told.items()
        >= {
            "UV_DEFAULT_INDEX": "https://index.example/simple",
            "UV_INSECURE_HOST": "a.example b.example",
            "UV_INDEX": "https://e1 https://e2",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_FIND_LINKS": f"{tmp_path}/links",
        }.items()
    )
    assert for_uv({**base, "UV_DEFAULT_INDEX": "https://mine"})["UV_DEFAULT_INDEX"] == "https://mine"
    assert for_uv({"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}).keys() == {"HOME", "PIP_CONFIG_FILE"}
