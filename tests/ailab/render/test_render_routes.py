"""The gateway's configuration: routes that can answer, and no fallback to any other."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ailab.definition.crosschecks import upstream
from ailab.definition.gateway import ENV, FALLBACKS, Gateway, leads_to
from ailab.definition.load import Definition
from ailab.definition.settings import Lab, Settings
from ailab.render.routes import active_routes, gateway_config
from tests.fixtures.definitions import loaded
from tests.fixtures.fuzz import FEW

SMALL, REAL = loaded("small"), loaded("real")
BOTH = pytest.mark.parametrize("definition", [SMALL, REAL], ids=["small", "real"])


def _with(definition: Definition, services: dict[str, bool], secrets: dict[str, str], **sections: Any) -> Definition:
    gateway = definition.gateway.model_copy(update=sections)
    return dataclasses.replace(definition, settings=Settings(lab=Lab(tailnet="t"), services=services), secrets=secrets, gateway=gateway)


def _read(definition: Definition) -> dict[str, Any]:
    data = yaml.safe_load(gateway_config(definition))
    Gateway.model_validate(data)
    return data  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("engine", "key", "models", "fallbacks", "context"),
    [
        (True, "sk-x", ["local/tiny", "cloud/large"], [{"cloud/large": ["local/tiny"]}], [{"local/tiny": ["cloud/large"]}]),
        (True, "", ["local/tiny"], [], []),
        (False, "sk-x", ["cloud/large"], [], []),
        (False, "", [], [], []),
    ],
)
def test_routes_and_fallbacks(engine: bool, key: str, models: list[str], fallbacks: Any, context: Any) -> None:
    data = _read(_with(SMALL, {"llama-cpp": engine}, {"OPENAI_API_KEY": key}))
    assert [r["model_name"] for r in data["model_list"]] == models
    assert data["router_settings"]["fallbacks"] == fallbacks
    assert data["litellm_settings"] == {"drop_params": True, "context_window_fallbacks": context}
    assert data["general_settings"] == {"master_key": "os.environ/LITELLM_MASTER_KEY"}


def test_a_key_that_is_absent_is_an_empty_one() -> None:
    assert [r.model_name for r in active_routes(_with(SMALL, {}, {}))] == ["local/tiny"]


def test_what_is_written_is_passed_on_and_nothing_is_added() -> None:
    everything = dict.fromkeys(REAL.services, True)
    keys = {n: "x" for r in REAL.gateway.model_list for n in r.secrets}
    assert _read(_with(REAL, everything, keys)) == yaml.safe_load(REAL.files["gateway/litellm-config.yml"])


def test_fallbacks_in_every_shape() -> None:
    sections = {
        "router_settings": {"fallbacks": None, "default_fallbacks": ["cloud/large", "local/tiny"]},
        "litellm_settings": {
            "default_fallbacks": None,
            "fallbacks": [{"*": ["cloud/large", "local/tiny"]}, {"local/tiny": ["cloud/large"], "cloud/large": ["local/tiny"]}],
        },
    }
    data = _read(_with(SMALL, {}, {}, **sections))
    assert data["router_settings"] == {"fallbacks": [], "default_fallbacks": ["local/tiny"]}
    assert data["litellm_settings"] == {"default_fallbacks": [], "fallbacks": [{"*": ["local/tiny"]}]}


@pytest.mark.parametrize(
    ("off", "callbacks"),
    [([], ["arize_phoenix", "prometheus", "mine.hook"]), (["phoenix"], ["prometheus", "mine.hook"]), (["phoenix", "prometheus"], ["mine.hook"])],
)
def test_callbacks_to_services_that_are_off_are_left_out(off: list[str], callbacks: list[str]) -> None:
    written = ["arize_phoenix", "prometheus", "mine.hook"]
    sections = {"litellm_settings": {"callbacks": written, "success_callback": written, "failure_callback": "prometheus"}}
    data = _read(_with(SMALL, dict.fromkeys(off, False), {}, **sections))
    assert data["litellm_settings"] == {"callbacks": callbacks, "success_callback": callbacks, "failure_callback": "prometheus"}


@FEW
@given(st.data())
@BOTH
def test_whatever_is_on_the_file_is_whole(definition: Definition, data: st.DataObject) -> None:
    services = {s: data.draw(st.booleans(), s) for s in definition.services}
    names = sorted({n for r in definition.gateway.model_list for n in r.secrets})
    secrets = {n: data.draw(st.sampled_from(["", "the-secret-value"]), n) for n in names}
    chosen = _with(definition, services, secrets)
    config = _read(chosen)
    assert "the-secret-value" not in gateway_config(chosen), "a key stands there by its name alone"
    models = {r["model_name"] for r in config["model_list"]}
    for route in definition.gateway.model_list:
        params = route.litellm_params
        service, _ = upstream(params.get("api_base", ""))
        keys = [v.removeprefix(ENV) for v in params.values() if str(v).startswith(ENV)]
        assert (route.model_name in models) == ((service is None or services[service]) and all(secrets[k] for k in keys))
    for section in ("litellm_settings", "router_settings"):
        for key in FALLBACKS:
            for entry in config.get(section, {}).get(key, []):
                assert entry, "no empty entry"
                for source, targets in entry.items():
                    assert targets, "no empty list"
                    assert all(leads_to(n, models) for n in [*targets, *([] if source == "*" else [source])])
