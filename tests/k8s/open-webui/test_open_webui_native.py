"""What stands in for Open WebUI's image, and what its manifest promises beyond the general rules."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"open_webui_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service(root: Path) -> Path:
    return root / "k8s" / "open-webui"


@pytest.fixture
def build(service: Path) -> ModuleType:
    return load(service / "native" / "build.py")


@pytest.fixture
def serve(service: Path) -> ModuleType:
    return load(service / "native" / "serve.py")


@pytest.fixture
def env(service: Path) -> dict[str, str]:
    deployment = yaml.safe_load((service / "deployment.yml").read_text("utf-8"))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {e["name"]: e.get("value", "") for e in container["env"]}


@pytest.fixture
def garbage() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def migration(folder: Path, revision: str, down: str) -> None:
    (folder / "versions").mkdir(exist_ok=True)
    (folder / "versions" / f"{revision}.py").write_text(f"import nowhere\nrevision: str = '{revision}'\ndown_revision = {down}\n", "utf-8")


def test_the_change_log_keeps_the_newest_version(build: ModuleType) -> None:
    text = "# Changelog\n\n## [2.0] - 2026\n\n### Added\n\n- new\n\n## [1.0] - 2025\n\n- old\n"
    assert build.newest(text) == "# Changelog\n\n## [2.0] - 2026\n\n### Added\n\n- new\n\n"


@pytest.mark.parametrize("text", ["", "# Changelog\n", "## [1.0] - 2025\n\n- only\n"])
def test_a_short_change_log_stays_whole(build: ModuleType, text: str) -> None:
    assert build.newest(text) == text


def test_the_placeholder_is_hashed_once(build: ModuleType) -> None:
    source = "import bcrypt\nPLACEHOLDER_HASH = bcrypt.hashpw(b'placeholder', bcrypt.gensalt()).decode('utf-8')\nx = 1\n"
    assert build.with_hash(source, "$2b$12$abc") == "import bcrypt\nPLACEHOLDER_HASH = '$2b$12$abc'\nx = 1\n"


def test_another_source_is_left_alone(build: ModuleType) -> None:
    assert build.with_hash("PLACEHOLDER_HASH = argon2()\n", "$2b$12$abc") == "PLACEHOLDER_HASH = argon2()\n"


def test_the_newest_migration_is_read_not_run(build: ModuleType, tmp_path: Path) -> None:
    migration(tmp_path, "a", "None")
    migration(tmp_path, "b", "'a'")
    migration(tmp_path, "c", "'a'")
    migration(tmp_path, "d", "('b', 'c')")
    assert build.head(tmp_path) == "d"


def test_two_newest_migrations_are_an_error(build: ModuleType, tmp_path: Path) -> None:
    migration(tmp_path, "a", "None")
    migration(tmp_path, "b", "None")
    with pytest.raises(SystemExit, match=r"one newest migration expected in .*, found \['a', 'b'\]"):
        build.head(tmp_path)


def test_a_file_that_the_cache_shares_is_not_written_into(build: ModuleType, tmp_path: Path) -> None:
    cached, installed = tmp_path / "cached.md", tmp_path / "installed.md"
    cached.write_text("all", "utf-8")
    os.link(cached, installed)
    build.rewrite(installed, "newest")
    assert (cached.read_text("utf-8"), installed.read_text("utf-8")) == ("all", "newest")


def test_a_database_that_does_not_answer_counts_as_not_migrated(serve: ModuleType) -> None:
    assert serve.is_migrated("postgresql://nobody@127.0.0.1:1/none", "d") is False


@pytest.mark.usefixtures("garbage")
def test_garbage_is_collected_again_once_the_server_has_started(serve: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Server:
        async def startup(self, sockets: Any = None) -> None:
            seen.append((sockets, gc.isenabled()))

    monkeypatch.setitem(sys.modules, "uvicorn", SimpleNamespace(Server=Server))  # type: ignore[arg-type]
    serve.collect_garbage_when_started()
    assert not gc.isenabled()
    asyncio.run(Server().startup(sockets="s"))
    assert seen == [("s", False)]
    assert gc.isenabled()


def test_it_calls_nobody_outside_the_lab(env: dict[str, str]) -> None:
    hosts = {urlsplit(value).hostname or "" for value in env.values() if "://" in value}
    assert {h for h in hosts if not h.endswith(".ai-lab.svc.cluster.local")} == {"localhost"}


def test_the_edge_lets_through_what_the_chat_allows(service: Path, env: dict[str, str]) -> None:
    annotations = yaml.safe_load((service / "ingress.yml").read_text("utf-8"))["metadata"]["annotations"]
    assert int(annotations["nginx.org/client-max-body-size"].removesuffix("m")) > int(env["RAG_FILE_MAX_SIZE"])
    assert annotations["nginx.org/proxy-read-timeout"] == f"{env['AIOHTTP_CLIENT_TIMEOUT']}s"


@pytest.mark.parametrize("heavy", ["torch", "transformers", "chromadb", "onnxruntime", "sentence-transformers"])
def test_the_lock_is_the_slim_one(service: Path, heavy: str) -> None:
    assert f"\n{heavy}==" not in (service / "native" / "requirements.lock").read_text("utf-8")
