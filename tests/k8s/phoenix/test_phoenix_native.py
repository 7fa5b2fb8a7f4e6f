"""What stands in for Phoenix's image, and what its manifest promises beyond the general rules."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml


@pytest.fixture
def service(root: Path) -> Path:
    return root / "k8s" / "phoenix"


@pytest.fixture
def serve(service: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("phoenix_serve", service / "native" / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pod(service: Path) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((service / "deployment.yml").read_text("utf-8"))["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def garbage() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


class GrpcServer:
    def __init__(self, options: Any = None) -> None:
        self.options = options
        self.bound: list[str] = []

    def add_insecure_port(self, address: str) -> int:
        self.bound.append(address)
        return 4317


@pytest.mark.parametrize(
    ("asked", "bound"), [("[::]:4317", "127.77.5.1:4317"), ("127.0.0.1:9", "127.0.0.1:9"), ("unix:/tmp/a", "unix:/tmp/a")]
)
def test_grpc_binds_one_address(serve: ModuleType, monkeypatch: pytest.MonkeyPatch, asked: str, bound: str) -> None:
    aio = SimpleNamespace(server=GrpcServer)
    monkeypatch.setitem(sys.modules, "grpc", SimpleNamespace(aio=aio))  # type: ignore[arg-type]
    serve.bind_grpc("127.77.5.1")
    server = aio.server(options="o")
    assert server.add_insecure_port(asked) == 4317
    assert (server.options, server.bound) == ("o", [bound])


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


@pytest.fixture
def later(serve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "heavy_client.py").write_text("class Model:\n    pass\nclass AnthropicModelSettings(dict):\n    pass\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "heavy_client", serve.Later("heavy_client"))
    return "heavy_client"


def test_the_type_of_the_settings_loads_nothing(serve: ModuleType, later: str) -> None:
    from heavy_client import AnthropicModelSettings  # type: ignore[import-not-found]

    assert AnthropicModelSettings(anthropic_cache=True) == {"anthropic_cache": True}
    assert isinstance(sys.modules[later], serve.Later)


def test_anything_else_loads_the_real_module(serve: ModuleType, later: str) -> None:
    from heavy_client import Model

    assert Model.__module__ == later
    assert not isinstance(sys.modules[later], serve.Later)
    import heavy_client

    assert heavy_client.Model is Model


def test_a_module_that_was_loaded_meanwhile_is_not_loaded_twice(serve: ModuleType, later: str) -> None:
    early = sys.modules[later]
    first = early.Model
    assert early.Model is first


def test_one_that_is_not_there_is_an_import_error(serve: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "no_such_client", serve.Later("no_such_client"))
    with pytest.raises(ModuleNotFoundError, match="no_such_client"):
        from no_such_client import Model  # type: ignore[import-not-found] # noqa: F401


def test_no_service_link_takes_the_place_of_its_port(pod: dict[str, Any]) -> None:
    assert pod["enableServiceLinks"] is False


def test_traces_do_not_stay_for_ever_and_metrics_do_not_listen_everywhere(pod: dict[str, Any]) -> None:
    env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
    assert int(env["PHOENIX_DEFAULT_RETENTION_POLICY_DAYS"]) > 0
    assert "PHOENIX_ENABLE_PROMETHEUS" not in env
    assert (env["PHOENIX_TELEMETRY_ENABLED"], env["PHOENIX_ALLOW_EXTERNAL_RESOURCES"]) == ("false", "false")


@pytest.mark.parametrize("left_out", ["boto3", "botocore", "pydantic-monty", "pydantic-monty-runtime"])
def test_the_lock_leaves_out_what_is_turned_off(service: Path, left_out: str) -> None:
    lock = f"\n{(service / 'native' / 'requirements.lock').read_text('utf-8')}"
    assert f"\n{left_out}==" not in lock
    assert "\nasyncpg==" in lock
