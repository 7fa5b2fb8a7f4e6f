"""Each kind once for real, with something tiny from its registry."""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ailab.runtime.native.providers import platform_name

pytestmark = pytest.mark.network
NEED = Callable[..., str]


def made(result: tuple[int, list[dict[str, Any]]]) -> Path:
    code, events = result
    assert code == 0, events[-1]
    return Path(events[-1]["path"])


SIX = """six==1.17.0 \\
    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274 \\
    --hash=sha256:ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81
"""


def test_python(lab: Any) -> None:
    lab.write("native/requirements.lock", SIX)
    path = made(lab.run({"kind": "python", "python": ">=3.11", "lock": "native/requirements.lock"}))
    run = subprocess.run([path / "bin" / "python", "-c", "import six; print(six.__version__)"], capture_output=True, check=True)
    assert run.stdout == b"1.17.0\n"


def test_maven_with_the_address_that_jgo_ships(lab: Any) -> None:
    lab.write("native/maven.lock", "org.hamcrest:hamcrest-core:1.3:jar 66fdef91e9739348df7a096aa384a5685f4e875584cce89386a7a47251c4d8e9\n")
    source = {"kind": "maven", "lock": "native/maven.lock", "coordinates": ["org.hamcrest:hamcrest-core:1.3"]}
    path = made(lab.run(source))
    assert (path / "hamcrest-core-1.3.jar").stat().st_size == 45024


def test_npm(lab: Any, need: NEED) -> None:
    """With the machine's own node as the provider: the wheel of the lab's is 60 MB."""
    node = Path(need("node")).resolve()
    npm = Path(need("npm")).resolve()
    top = lab.service / "node"
    (top / "bin").mkdir(parents=True)
    (top / "bin" / "node").symlink_to(node)
    (top / "lib").mkdir()
    (top / "lib" / "node_modules").symlink_to(npm.parents[2])
    lab.write("native/npm/package.json", '{"name": "t", "version": "1.0.0", "dependencies": {"is-number": "7.0.0"}}')
    lab.write(
        "native/npm/package-lock.json",
        '{"name": "t", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "t", "version": "1.0.0", '
        '"dependencies": {"is-number": "7.0.0"}}, "node_modules/is-number": {"version": "7.0.0", "integrity": '
        '"sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="}}}',
    )
    lab.write("native/npm/main.js", "console.log(require('is-number')(5))")
    path = made(lab.run({"kind": "npm", "lock": "native/npm"}, needs={"node": str(top)}))
    assert subprocess.run([node, path / "main.js"], capture_output=True, check=True).stdout == b"true\n"


def test_debian(lab: Any, need: NEED, tmp_path: Path) -> None:
    """The lock is made from what this machine's release has: `hello`, 50 kB."""
    apt = need("apt-get")
    (tmp_path / "seen").mkdir()
    (tmp_path / "cache/archives/partial").mkdir(parents=True)
    state = ["-o", f"Dir::State::lists={lab.cache}/apt-lists", "-o", f"Dir::Cache={tmp_path}/cache", "-o", "APT::Sandbox::User=root"]
    (lab.cache / "apt-lists" / "partial").mkdir(parents=True)
    subprocess.run([apt, *state, "-q", "update"], check=True, capture_output=True)
    subprocess.run([apt, *state, "download", "hello"], cwd=tmp_path / "seen", check=True, capture_output=True)
    (deb,) = (tmp_path / "seen").glob("*.deb")
    name, version, arch = deb.stem.replace("%3a", ":").split("_")
    lab.write("native/debian.lock", f"{name} {version} {arch} {hashlib.sha256(deb.read_bytes()).hexdigest()}\n")
    path = made(lab.run({"kind": "debian", "packages": "native/debian.lock"}))
    assert subprocess.run([path / "usr/bin/hello"], capture_output=True, check=True).stdout == b"Hello, world!\n"


def test_go(lab: Any, need: NEED) -> None:
    need("go")
    source = {
        "kind": "go",
        "module": "golang.org/x/mod",
        "package": "gosumcheck",
        "version": "v0.30.0",
        "env": {"CGO_ENABLED": "0"},
    }
    path = made(lab.run(source))
    run = subprocess.run([path / "bin" / "gosumcheck"], capture_output=True, check=False)
    assert b"usage: gosumcheck" in run.stderr


def test_what_a_vendor_releases_says_why_it_cannot_be_had_here_or_works(lab: Any) -> None:
    """No vendor's site is in reach of a machine with registries alone: either way the answer is whole."""
    source = {
        "kind": "archive",
        "url": "https://github.com/prometheus/promu/releases/download/v0.17.0/promu-0.17.0.{arch}.tar.gz",
        "checksums": "https://github.com/prometheus/promu/releases/download/v0.17.0/sha256sums.txt",
        "arch": {"linux-x86_64": "linux-amd64", "linux-arm64": "linux-arm64"},
        "strip": 1,
    }
    code, events = lab.run(source, unavailable="Ask the vendor.")
    if code == 0:
        assert (Path(events[-1]["path"]) / "promu").is_file()
    else:
        assert events[-1]["way_out"] == "Ask the vendor."
        assert "github.com" in events[-1]["tried"][0]["reason"]
    assert platform_name() in source["arch"]
