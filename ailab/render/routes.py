"""The gateway's configuration as this lab needs it: routes whose upstream is off or whose key is missing are left out."""

from __future__ import annotations

from typing import Any

import yaml

from ailab.definition.crosschecks import upstream
from ailab.definition.gateway import FALLBACKS, Gateway, Route, leads_to
from ailab.definition.load import Definition

# Callbacks of LiteLLM that lead to a service of the lab: without it, each chat would log a failed delivery.
_CALLBACKS = {"arize_phoenix": "phoenix", "prometheus": "prometheus"}


def active_routes(definition: Definition) -> list[Route]:
    """The routes that can answer: their service is on, their keys are in .env."""
    return [r for r in definition.gateway.model_list if _active(r, definition)]


def _active(route: Route, definition: Definition) -> bool:
    service, _ = upstream(str(route.litellm_params.get("api_base", "")))
    if service is not None and not definition.settings.is_on(service):
        return False
    return all(definition.secrets.get(name) for name in route.secrets)


def gateway_config(definition: Definition) -> str:
    """The text of litellm-config.yml with the active routes only."""
    gateway: Gateway = definition.gateway
    routes = active_routes(definition)
    names = {r.model_name for r in routes}
    data: dict[str, Any] = gateway.model_dump(exclude_unset=True)
    data["model_list"] = [r.model_dump(exclude_unset=True) for r in routes]
    for section in ("litellm_settings", "router_settings"):
        settings = data.get(section, {})
        for key in FALLBACKS:
            if key in settings:
                settings[key] = _known(settings[key] or [], names)
        if "default_fallbacks" in settings:
            settings["default_fallbacks"] = [n for n in settings["default_fallbacks"] or [] if leads_to(n, names)]
    for key in ("callbacks", "success_callback", "failure_callback"):
        if isinstance((settings := data.get("litellm_settings", {})).get(key), list):
            settings[key] = [c for c in settings[key] if c not in _CALLBACKS or definition.settings.is_on(_CALLBACKS[c])]
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _known(entries: list[dict[str, list[str]]], names: set[str]) -> list[dict[str, list[str]]]:
    kept = [
        {source: [t for t in targets if leads_to(t, names)] for source, targets in entry.items() if source == "*" or leads_to(source, names)}
        for entry in entries
    ]
    return [{s: t for s, t in entry.items() if t} for entry in kept if any(entry.values())]
