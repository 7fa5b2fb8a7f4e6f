"""What the gateway's file can't be wrong about alone: upstreams, and the variables that it takes keys from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ailab.definition.crosschecks import port_problem, ports_of, upstream
from ailab.definition.gateway import ENV, FILE, Gateway
from ailab.definition.manifests import Manifest, containers
from ailab.definition.problems import Problem, did_you_mean

_SERVICE = "litellm"


def check_gateway(gateway: Gateway, manifests: Sequence[Manifest], known: Collection[str]) -> list[Problem]:
    """Every rule below.

    Args:
        known: the names that .env.example explains.
    """
    return [*_routes(gateway, ports_of(manifests), known), *_variables(gateway, manifests, known)]


def _routes(gateway: Gateway, services: dict[str, set[int]], known: Collection[str]) -> Iterator[Problem]:
    for i, route in enumerate(gateway.model_list):
        place = f"{FILE} model_list.{i} ({route.model_name})"
        for name in route.secrets:
            if name not in known:
                yield Problem(place, f"the secret {name} is not in .env.example", did_you_mean(name, known))
        base = route.litellm_params.get("api_base")
        if base is None:
            if not route.secrets:
                yield Problem(place, "neither api_base nor a key", f"a local model needs api_base, a cloud model api_key: {ENV}NAME")
            continue
        try:
            service, port = upstream(str(base))
        except ValueError:
            yield Problem(place, f"api_base {str(base)!r} is no URL", "write http://<service>.ai-lab.svc.cluster.local:<port>")
            continue
        if service is not None:
            yield from port_problem(service, port, place, services)


def _variables(gateway: Gateway, manifests: Sequence[Manifest], known: Collection[str]) -> Iterator[Problem]:
    """LiteLLM takes a variable that its container doesn't have as an empty key, and says nothing."""
    for m in manifests:
        if m.service != _SERVICE or not m.pod or any(c.get("envFrom") for c in m.pod["containers"]):
            continue
        given = {e["name"] for c in containers(m.pod) for e in c.get("env", [])}
        for name in sorted(set(_names(gateway.model_dump()))):
            if name not in given and name in known:
                yield Problem(FILE, f"{ENV}{name} is no variable of the gateway's container", f"add {name} to env in {m.file}")


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith(ENV):
        yield value.removeprefix(ENV)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from _names(inner)
