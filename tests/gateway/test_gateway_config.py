"""gateway/litellm-config.yml: rules that LiteLLM itself doesn't hold it to."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "gateway" / "litellm-config.yml").read_text("utf-8"))
ROUTES = {route["model_name"]: route for route in CONFIG["model_list"]}
LOCAL = [name for name in ROUTES if name.startswith("local/")]


def environment() -> set[str]:
    deployment = yaml.safe_load((ROOT / "k8s" / "litellm" / "deployment.yml").read_text("utf-8"))
    return {entry["name"] for entry in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}


def values(node: Any) -> list[str]:
    if isinstance(node, dict):
        node = list(node.values())
    return [v for child in node for v in values(child)] if isinstance(node, list) else [str(node)]


def test_names_are_aliases_of_one_route_each() -> None:
    assert len(ROUTES) == len(CONFIG["model_list"])
    assert {"local/smollm2", "local/minilm"} <= set(LOCAL)


def test_each_variable_reaches_the_container() -> None:
    named = {v.removeprefix("os.environ/") for v in values(CONFIG) if v.startswith("os.environ/")}
    assert "LITELLM_MASTER_KEY" in named
    assert named <= environment()


@pytest.mark.parametrize("name", LOCAL)
def test_local_models_have_a_price_and_no_retries(name: str) -> None:
    """Without a price no budget ends; a second request to a busy engine makes it slower."""
    parameters = ROUTES[name]["litellm_params"]
    assert 0 < parameters["input_cost_per_token"] < 1e-5
    assert parameters["num_retries"] == 0
    assert (urlsplit(parameters["api_base"]).hostname or "").endswith(".ai-lab.svc.cluster.local")


def test_what_is_asked_of_the_lab_stays_in_the_lab() -> None:
    for entry in CONFIG["router_settings"]["fallbacks"]:
        for source, targets in entry.items():
            assert source not in LOCAL
            assert {target.split("/")[0] for target in targets} == {source.split("/")[0]}


def test_cloud_routes_need_a_key() -> None:
    for name in ROUTES.keys() - set(LOCAL):
        assert str(ROUTES[name]["litellm_params"].get("api_key", "")).startswith("os.environ/"), name


def test_calls_are_traced_counted_and_booked_on_their_users() -> None:
    assert CONFIG["litellm_settings"]["callbacks"] == ["arize_phoenix", "prometheus"]
    assert "turn_off_message_logging" not in CONFIG["litellm_settings"]
    headers = {m["header_name"]: m["litellm_user_role"] for m in CONFIG["general_settings"]["user_header_mappings"]}
    assert headers == {"X-OpenWebUI-User-Id": "internal_user", "X-OpenWebUI-User-Email": "customer"}
