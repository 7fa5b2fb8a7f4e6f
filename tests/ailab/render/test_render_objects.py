"""Rendering: the same objects from the same definition, changed where the settings say so and nowhere else."""

from __future__ import annotations

import copy
import dataclasses
import json
import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ailab.definition.load import Definition
from ailab.definition.manifests import containers
from ailab.definition.settings import Lab, Settings
from ailab.render import render
from ailab.render.objects import CHECKSUM, PLACEHOLDER, config_names
from tests.fixtures.definitions import loaded
from tests.fixtures.fuzz import FEW

RANK = {"Namespace": 0, "PriorityClass": 1, "Secret": 2, "ConfigMap": 3}

LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20)


SMALL, REAL = loaded("small"), loaded("real")
BOTH = pytest.mark.parametrize("definition", [SMALL, REAL], ids=["small", "real"])


def _with(definition: Definition, lab: dict[str, str] | None = None, services: dict[str, bool] | None = None, **secrets: str) -> Definition:
    settings = Settings(lab=Lab(**({"tailnet": "tail1234"} | (lab or {}))), services=services or {})
    return dataclasses.replace(definition, settings=settings, secrets={**definition.secrets, **secrets})


def _pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for o in objects:
        if "template" in o.get("spec", {}):
            yield o["metadata"]["name"], o["spec"]["template"]


def _checksums(definition: Definition) -> dict[str, str]:
    return {name: t["metadata"].get("annotations", {}).get(CHECKSUM, "") for name, t in _pods(render(definition))}


@BOTH
def test_it_is_pure(definition: Definition) -> None:
    before = copy.deepcopy(definition)
    first = render(definition, secrets=True)
    kept = copy.deepcopy(first)
    for o in first:
        o["metadata"]["name"] = "changed"
        o.get("spec", {}).clear()
        o.get("data", {}).clear()
    assert definition == before, "what is given away is no part of the definition"
    assert render(definition, secrets=True) == kept


@BOTH
def test_each_object_stays_one_and_what_others_need_comes_first(definition: Definition) -> None:
    everything = _with(definition, services=dict.fromkeys(definition.services, True))
    rendered = [(o["kind"], o["metadata"]["name"]) for o in render(everything, secrets=True)]
    assert [o for o in rendered if o[0] != "Secret"] == sorted(((m.kind, m.name) for m in definition.manifests), key=lambda o: RANK.get(o[0], 9))
    assert [RANK.get(kind, 9) for kind, _ in rendered] == sorted(RANK.get(kind, 9) for kind, _ in rendered)


@BOTH
def test_without_other_names_only_configs_and_images_change(definition: Definition) -> None:
    everything = _with(definition, services=dict.fromkeys(definition.services, True))
    for m, o in zip(sorted(definition.manifests, key=lambda m: RANK.get(m.kind, 9)), render(everything), strict=True):
        if m.pod:
            o["spec"]["template"]["metadata"].get("annotations", {}).pop(CHECKSUM, None)
            if "annotations" not in m.object["spec"]["template"]["metadata"]:
                o["spec"]["template"]["metadata"].pop("annotations", None)
            for c in containers(o["spec"]["template"]["spec"]):
                c["image"] = c["image"].partition("@")[0]
        data = {"data": {}} if m.kind == "ConfigMap" else {}
        assert o | data == m.object | data


@FEW
@given(LABEL, LABEL)
def test_hosts_are_replaced_everywhere(host: str, tailnet: str) -> None:
    assume((host, tailnet) != ("gpu-lab", "tail1234"))
    for definition in (SMALL, REAL):
        text = json.dumps(render(_with(definition, {"host": host, "tailnet": tailnet})))
        original = json.dumps(render(definition))
        assert PLACEHOLDER not in text
        assert original.count(PLACEHOLDER) == text.count(f"{host}.{tailnet}.ts.net") > 0


def test_hosts_are_replaced_in_files_too() -> None:
    config = next(o for o in render(_with(SMALL, {"host": "box"})) if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "litellm")
    assert config["data"]["hook.py"] == 'print("after the start of http://litellm.box.tail1234.ts.net")\n'
    assert config["data"].keys() == {"hook.py", "litellm-config.yml"}


@BOTH
def test_services_that_are_off_leave_nothing(definition: Definition) -> None:
    for service in definition.services:
        on = render(_with(definition, services=dict.fromkeys(definition.services, True)))
        off = render(_with(definition, services=dict.fromkeys(definition.services, True) | {service: False}))
        gone = {(m.kind, m.name) for m in definition.manifests if m.service == service}
        assert {(o["kind"], o["metadata"]["name"]) for o in on} - {(o["kind"], o["metadata"]["name"]) for o in off} == gone
        assert render(_with(definition, services={service: False}), service, secrets=True) == []


@BOTH
def test_one_service_is_its_part_of_the_whole(definition: Definition) -> None:
    everything = _with(definition, services=dict.fromkeys(definition.services, True))
    parts = [o for s in sorted({m.service for m in definition.manifests}) for o in render(everything, s, secrets=True)]
    whole = render(everything, secrets=True)
    assert sorted(map(json.dumps, parts)) == sorted(map(json.dumps, whole))


def test_images_get_their_digest_where_it_is_known() -> None:
    images = {c["image"] for _, t in _pods(render(SMALL)) for c in containers(t["spec"])}
    assert f"postgres:18.1@{SMALL.digests['postgres:18.1']}" in images
    assert {"ghcr.io/berriai/litellm:v1.2.3", "ghcr.io/example/fetch:1.0"} < images


def test_a_checksum_changes_with_the_config_and_only_with_it() -> None:
    before = _checksums(SMALL)
    assert before["litellm"]
    assert before["postgresql"]
    assert before["llama-cpp"] == "", "it has no config"
    same = [_with(SMALL), dataclasses.replace(SMALL, digests={}), _with(SMALL, NEO4J_PASSWORD="x"), _with(SMALL, LITELLM_MASTER_KEY="other")]
    assert all(_checksums(d) == before for d in same)
    file = _checksums(dataclasses.replace(SMALL, files=SMALL.files | {"gateway/hook.py": "print()"}))
    key = _checksums(_with(SMALL, OPENAI_API_KEY="sk-x"))
    host = _checksums(_with(SMALL, {"host": "box"}))
    for changed in (file, key, host):
        assert {n for n, c in changed.items() if c != before[n]} == {"litellm"}
    assert len({file["litellm"], key["litellm"], host["litellm"], before["litellm"]}) == 4


def test_a_checksum_sees_a_key_of_which_only_a_variable_is_made() -> None:
    manifests = tuple(
        dataclasses.replace(m, object={**m.object, "data": {"shared-buffers": "1GB"}}) if m.file == "k8s/postgresql/configmap.yml" else m
        for m in SMALL.manifests
    )
    before, after = _checksums(SMALL), _checksums(dataclasses.replace(SMALL, manifests=manifests))
    assert {n for n, c in after.items() if c != before[n]} == {"postgresql"}


@BOTH
def test_every_pod_that_uses_a_config_has_a_checksum(definition: Definition) -> None:
    for _, template in _pods(render(definition)):
        assert bool(config_names(template["spec"])) == (CHECKSUM in template["metadata"].get("annotations", {}))


@BOTH
def test_secrets_only_on_request_and_then_complete(definition: Definition) -> None:
    values = {n: f"value-of-{n}" for m in definition.manifests if m.pod for n in _keys(m.pod)}
    filled = _with(definition, services=dict.fromkeys(definition.services, True), **values)
    assert values
    silent = json.dumps(render(filled))
    assert '"Secret"' not in silent
    assert not any(v in silent for v in values.values())
    objects = render(filled, secrets=True)
    made = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Secret"}
    assert [o for o in objects if o["kind"] != "Secret"] == render(filled)
    assert {o["metadata"]["namespace"] for o in made.values()} == {"ai-lab"}
    wanted: dict[str, set[str]] = {}
    for _, template in _pods(objects):
        for c in containers(template["spec"]):
            for e in c.get("env", []):
                if ref := e.get("valueFrom", {}).get("secretKeyRef"):
                    wanted.setdefault(ref["name"], set()).add(ref["key"])
    assert {n: set(o["stringData"]) for n, o in made.items()} == wanted, "all that is named, and nothing more"
    assert all(v == f"value-of-{k}" for o in made.values() for k, v in o["stringData"].items())


def _keys(pod: dict[str, Any]) -> set[str]:
    refs = [e.get("valueFrom", {}).get("secretKeyRef") for c in containers(pod) for e in c.get("env", [])]
    return {r["key"] for r in refs if r}
