"""The locks of the native providers: everything by hash, and no registry's address in any of them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ailab.definition.native import read_native
from tests.conftest import ROOT

NATIVE, PROBLEMS = read_native(ROOT)
SOURCES = [
    (service, name, provider, source)
    for service, spec in NATIVE.items()
    for name, provider in spec.provider.items()
    for source in provider.source
]
PYTHON = [s for s in SOURCES if s[3].kind in ("python", "git")]
SHA256 = r"[0-9a-f]{64}"


def _each(*kinds: str) -> Any:
    chosen = [s for s in SOURCES if s[3].kind in kinds]
    return pytest.mark.parametrize(("service", "name", "provider", "source"), chosen, ids=[f"{s[1]}-{s[3].kind}" for s in chosen])


def _lock(service: str, path: str) -> str:
    return (ROOT / "k8s" / service / path).read_text("utf-8")


def test_all_can_be_read() -> None:
    assert PROBLEMS == []
    for service in NATIVE:
        first = (ROOT / "k8s" / service / "native.toml").read_text("utf-8").splitlines()[0]
        assert re.fullmatch(r"# .*\.", first), f"k8s/{service}/native.toml begins with a sentence"


@_each("python", "git")
def test_python(service: str, name: str, provider: Any, source: Any) -> None:
    text = _lock(service, source.lock)
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links)\b", text, re.MULTILINE)
    requirements = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z0-9,_-]+\])?==[^\s;]+", requirement), requirement
        hashes = re.findall(r"--hash=(\S+)", requirement)
        assert hashes, requirement
        assert all(re.fullmatch(f"sha256:{SHA256}", h) for h in hashes), requirement
    if source.kind == "python":
        versions = {re.split(r"[\s;\\]", r.partition("==")[2], maxsplit=1)[0] for r in requirements}
        version = source.version or provider.version
        assert any(version == v or version.startswith(f"{v}-") for v in versions), f"no requirement has the version {version}"


@_each("archive")
def test_archives(service: str, name: str, provider: Any, source: Any) -> None:
    assert source.url.startswith("https://")
    assert "{version}" in source.url
    assert source.sha256 or source.checksums, "a checksum, or where the vendor says it"
    assert all(re.fullmatch(SHA256, v) for v in source.sha256.values())
    assert not source.checksums or source.checksums.startswith("https://")


@_each("debian")
def test_debian(service: str, name: str, provider: Any, source: Any) -> None:
    lines = [x for x in _lock(service, source.packages).splitlines() if x and not x.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(rf"[a-z0-9.+-]+ \S+ (amd64|arm64|all) {SHA256}", line), line


@_each("maven")
def test_maven(service: str, name: str, provider: Any, source: Any) -> None:
    lines = [x for x in _lock(service, source.lock).splitlines() if x and not x.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(rf"[\w.-]+:[\w.-]+:[\w.+-]+(:[\w.-]+)?:jar {SHA256}", line), line
    for coordinate in source.coordinates:
        assert any(line.startswith(f"{coordinate}:") for line in lines), coordinate


@_each("npm")
def test_npm(service: str, name: str, provider: Any, source: Any) -> None:
    lock = json.loads(_lock(service, f"{source.lock}/package-lock.json"))
    assert "://" not in json.dumps({k: {x: y for x, y in v.items() if x not in ("funding", "license")} for k, v in lock["packages"].items()})
    for path, package in lock["packages"].items():
        assert not path or package["integrity"].startswith("sha512-"), path


@_each("git")
def test_git(service: str, name: str, provider: Any, source: Any) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", source.commit)


@_each("go")
def test_go(service: str, name: str, provider: Any, source: Any) -> None:
    assert re.fullmatch(r"v\d+\.\d+\.\d+", source.version), "the module proxy's checksum database holds it to this version"


def test_every_lock_is_some_providers() -> None:
    named = {
        (ROOT / "k8s" / service / path).resolve()
        for service, _, _, source in SOURCES
        for path in (getattr(source, "lock", None), getattr(source, "packages", None))
        if path
    }
    locks = {p.resolve() for p in (ROOT / "k8s").glob("*/native/*.lock")}
    assert locks - named == set()
