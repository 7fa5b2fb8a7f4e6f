"""What SearXNG is told, and that the source which is built natively is the image's own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

SERVICE = Path(__file__).parents[3] / "k8s" / "searxng"


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    data = yaml.safe_load((SERVICE / "configmap.yml").read_text())["data"]
    found: dict[str, Any] = yaml.safe_load(data["settings.yml"])
    return found


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    (found,) = yaml.safe_load((SERVICE / "deployment.yml").read_text())["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_open_webui_may_ask_for_json(settings: dict[str, Any]) -> None:
    assert settings["search"]["formats"] == ["html", "json"]
    assert settings["server"]["limiter"] is False


def test_nothing_is_counted_or_sent_while_typing(settings: dict[str, Any]) -> None:
    assert settings["general"]["enable_metrics"] is False
    assert settings["search"]["autocomplete"] == ""


def test_the_key_comes_from_the_environment(settings: dict[str, Any], container: dict[str, Any]) -> None:
    assert "secret_key" not in settings["server"]
    (secret,) = (each for each in container["env"] if each["name"] == "SEARXNG_SECRET")
    assert secret["valueFrom"]["secretKeyRef"] == {"name": "searxng", "key": "SEARXNG_SECRET"}


def test_the_settings_lie_where_it_looks(container: dict[str, Any]) -> None:
    env = {each["name"]: each.get("value") for each in container["env"]}
    (config,) = (each for each in container["volumeMounts"] if each["name"] == "config")
    assert env["SEARXNG_SETTINGS_PATH"] == f"{config['mountPath']}/settings.yml"


def test_the_commit_is_the_one_that_the_tag_names(container: dict[str, Any]) -> None:
    tag = container["image"].rpartition(":")[2]
    provider = tomllib.loads((SERVICE / "native.toml").read_text())["provider"]["searxng"]
    assert provider["version"] == tag
    assert provider["source"][0]["commit"].startswith(tag.rpartition("-")[2])
