"""Who may speak to whom: the policies of both sides say the same, and no more than what the services name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ailab.definition.crosschecks import DOMAIN
from ailab.definition.manifests import Manifest
from tests.k8s.test_manifests import MANIFESTS, PODS, SERVICES, WITH_INGRESS, of_kind, texts

# Who may leave the lab, to port 443, and what for.
OUTSIDE = {
    "litellm": "the cloud's models",
    "llama-cpp": "its models, fetched once",
    "ollama": "its models",
    "searxng": "the search engines",
    "vllm": "its models",
}
Flow = tuple[str, str, int]


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    if any(labels.get(k) != v for k, v in selector.get("matchLabels", {}).items()):
        return False
    tests = {"In": lambda e: labels.get(e["key"]) in e["values"], "Exists": lambda e: e["key"] in labels}
    return all(tests[e["operator"]](e) for e in selector.get("matchExpressions", []))


def _flows(direction: str) -> set[Flow]:
    """Who may speak to whom on which port, as the policies of one direction say it."""
    pods = {m.name: m.object["spec"]["template"]["metadata"]["labels"] for m in PODS}
    found = set()
    for policy in of_kind("NetworkPolicy").values():
        spec = policy.object["spec"]
        for rule in spec.get(direction, []):
            for peer in rule["to" if direction == "egress" else "from"]:
                if "podSelector" not in peer or "namespaceSelector" in peer:
                    continue
                for own in (n for n, labels in pods.items() if _matches(spec["podSelector"], labels)):
                    for other in (n for n, labels in pods.items() if _matches(peer["podSelector"], labels)):
                        found |= {(own, other, p["port"]) if direction == "egress" else (other, own, p["port"]) for p in rule["ports"]}
    return found


def _namespaces(service: str, direction: str) -> dict[str, set[int]]:
    """The ports that other namespaces may reach, or that are reached there, by namespace."""
    found: dict[str, set[int]] = {}
    for rule in of_kind("NetworkPolicy")[service].object["spec"].get(direction, []):
        for peer in rule["to" if direction == "egress" else "from"]:
            if "namespaceSelector" in peer:
                name = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                found.setdefault(name, set()).update(p["port"] for p in rule["ports"])
    return found


def test_everything_is_closed_first() -> None:
    assert of_kind("NetworkPolicy")["default-deny"].object["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("m", PODS, ids=[m.name for m in PODS])
def test_a_policy_is_for_its_own_pods_both_ways(m: Manifest) -> None:
    spec = of_kind("NetworkPolicy")[m.name].object["spec"]
    assert spec["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": m.name}}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
        assert rule.get("from") or rule.get("to"), "a rule without peers opens it to everybody"
        assert rule["ports"], "a rule without ports opens them all"


def test_whoever_may_speak_is_listened_to_and_the_other_way_round() -> None:
    egress, ingress = _flows("egress"), _flows("ingress")
    assert egress - ingress == set(), "egress that the other side's ingress refuses"
    assert ingress - egress == set(), "ingress that the other side's egress refuses"
    assert {(b, p) for _, b, p in egress} <= {(s, p) for s, ports in SERVICES.items() for p in ports.values()}


def test_whoever_is_named_may_be_spoken_to() -> None:
    named = set()
    for m in MANIFESTS:
        for text in texts(m):
            found = re.findall(rf"([a-z0-9-]+)\.{re.escape(DOMAIN)}:(\d+)", text)
            named |= {(m.service, other, int(port)) for other, port in found if other != m.service}
    assert len(named) >= 10
    assert named - _flows("egress") == set()


def test_nobody_may_speak_to_whom_they_do_not_name() -> None:
    named = {(m.service, other) for m in MANIFESTS for text in texts(m) for other in re.findall(rf"([a-z0-9-]+)\.{re.escape(DOMAIN)}", text)}
    assert {(a, b) for a, b, _ in _flows("egress")} - named == set()


@pytest.mark.parametrize("service", [m.name for m in PODS])
def test_the_ingress_controller_reaches_pages_alone(service: str) -> None:
    wanted = {"nginx-ingress": {SERVICES[service]["http"]}} if service in WITH_INGRESS else {}
    assert _namespaces(service, "ingress") == wanted


@pytest.mark.parametrize("service", [m.name for m in PODS])
def test_names_are_looked_up_by_those_who_call(service: str) -> None:
    calls = bool(of_kind("NetworkPolicy")[service].object["spec"].get("egress"))
    assert _namespaces(service, "egress") == ({"kube-system": {53}} if calls else {})


@pytest.mark.parametrize("service", [m.name for m in PODS])
def test_the_world_is_reached_by_those_who_need_it_and_never_reaches_in(service: str) -> None:
    spec = of_kind("NetworkPolicy")[service].object["spec"]
    outside = [(p["ipBlock"]["cidr"], [x["port"] for x in r["ports"]]) for r in spec.get("egress", []) for p in r["to"] if "ipBlock" in p]
    assert outside == ([("0.0.0.0/0", [443])] if service in OUTSIDE else [])
    assert not any("ipBlock" in p for r in spec.get("ingress", []) for p in r["from"])
