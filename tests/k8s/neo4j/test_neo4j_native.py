"""Neo4j's native start and build: what they write is what Neo4j's own tools write and read."""

from __future__ import annotations

import importlib.util
import stat
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

SERVICE = Path(__file__).parents[3] / "k8s" / "neo4j"


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SERVICE / "native" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def start() -> Any:
    yield _module("start")
    sys.modules.pop("start")


@pytest.fixture(scope="module")
def build(start: ModuleType) -> Any:
    yield _module("build")
    sys.modules.pop("build")


def test_a_password_is_hashed_as_neo4j_admin_does_it(start: ModuleType) -> None:
    # Written by `neo4j-admin dbms set-initial-password abcdefgh` of 5.26.30.
    salt = "7cd62acecfc5d5486107fa2fda718840dd6564f8068ca6f792edb975f3414400"
    line = f"neo4j:SHA-256,59d16c72fc156e260b24635a3ad2c822093be5e57f52c6212b5f40244dcd040c,{salt},1024:\n"
    assert start.auth_line("abcdefgh", bytes.fromhex(salt)) == line


def test_the_first_password_is_set_once(start: ModuleType, tmp_path: Path) -> None:
    start.set_first_password(tmp_path, "neo4j/long enough")
    auth = tmp_path / "dbms" / "auth.ini"
    assert stat.S_IMODE(auth.stat().st_mode) == 0o600
    first = auth.read_text()
    (tmp_path / "databases" / "system").mkdir(parents=True)
    start.set_first_password(tmp_path, "neo4j/another one")
    assert auth.read_text() == first


@pytest.mark.parametrize("auth", ["neo4j/short", "neo4j/", "", "none", "admin/long enough"])
def test_no_first_password_that_neo4j_refuses(start: ModuleType, tmp_path: Path, auth: str) -> None:
    with pytest.raises(SystemExit, match=r"at least 8 characters; set it in \.env"):
        start.set_first_password(tmp_path, auth)


def test_variables_become_settings_as_in_the_image(start: ModuleType) -> None:
    env = {
        "NEO4J_db_tx__log_preallocate": "false",
        "NEO4J_server_memory_heap_max__size": "512m",
        "NEO4J_AUTH": "neo4j/x",
        "NEO4J_empty": "",
        "GRAPH_PASSWORD": "x",
    }
    assert start.settings(env) == {"db.tx_log.preallocate": "false", "server.memory.heap.max_size": "512m"}


def test_no_variable_of_the_manifest_puts_the_password_into_the_settings(start: ModuleType) -> None:
    manifest = yaml.safe_load((SERVICE / "statefulset.yml").read_text())
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    secret = [e["name"] for e in container["env"] if "valueFrom" in e]
    assert secret
    env = {e["name"]: e.get("value", "s3cret") for e in container["env"]}
    for name in secret:
        assert not name.startswith("NEO4J_"), "the image would write it into neo4j.conf"
    found = start.settings(env)
    assert not any("s3cret" in value or "PASSWORD" in value for value in found.values())
    for needed in ("server.directories.data", "server.memory.heap.initial_size", "server.memory.heap.max_size"):
        assert found[needed]


def test_a_jar_loses_its_signature_and_nothing_else(build: ModuleType, tmp_path: Path) -> None:
    jar = tmp_path / "signed.jar"
    with zipfile.ZipFile(jar, "w") as new:
        new.writestr(
            "META-INF/MANIFEST.MF",
            "Manifest-Version: 1.0\r\nClass-Path: b.jar c\r\n .jar\r\nMulti-Release: true\r\n\r\nName: a/B.class\r\nSHA-256-Digest: x\r\n\r\n",
        )
        new.writestr("META-INF/ECLIPSE_.SF", "x")
        new.writestr("META-INF/ECLIPSE_.RSA", "x")
        new.writestr("META-INF/services/a.B", "a.C")
        new.writestr("a/B.class", b"\xca\xfe\xba\xbe")
    cached = tmp_path / "cache"
    cached.hardlink_to(jar)
    before = cached.read_bytes()
    build.make_plain(jar)
    with zipfile.ZipFile(jar) as made:
        assert made.namelist() == ["META-INF/MANIFEST.MF", "META-INF/services/a.B", "a/B.class"]
        assert made.read("META-INF/MANIFEST.MF") == b"Manifest-Version: 1.0\r\nMulti-Release: true\r\n\n"
        assert made.read("a/B.class") == b"\xca\xfe\xba\xbe"
    assert cached.read_bytes() == before
    inode = jar.stat().st_ino
    build.make_plain(jar)
    assert jar.stat().st_ino == inode, "a jar without signature stays as it is"


def test_the_class_path_survives_odd_folders(build: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / 'a "b" c\\d'
    folder.mkdir()
    for name, size in (("small.jar", 1), ("large.jar", 9)):
        (folder / name).write_bytes(b"x" * size)
    build.write_class_path(folder)
    text = (folder / "class-path").read_text()
    escaped = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    assert text == f'-cp "{escaped}/large.jar:{escaped}/small.jar"\n'
