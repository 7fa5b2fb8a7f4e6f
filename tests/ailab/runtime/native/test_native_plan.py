"""From manifests and native.toml to the plan: one case a file in cases/plan, and what concerns whole labs."""

from __future__ import annotations

import copy
import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ailab.definition.gateway import Gateway
from ailab.definition.load import Definition
from ailab.definition.manifests import Manifest
from ailab.definition.native import NativeSpec
from ailab.definition.settings import Lab, Native, Settings
from ailab.runtime.native.addresses import assign
from ailab.runtime.native.model import Container, EnvEntry, Plan, dump
from ailab.runtime.native.plan import Place, make_plan, megabytes

CASES = sorted((Path(__file__).parent / "cases" / "plan").glob("*.toml"))
PLACE = Place(lab="lab", root="/R", state="/S", inputs="i", python="/usr/bin/python3", uv="/uv", store="/store", cache="/cache")
ADDRESSES = assign(["it", "other", "off"], "127.77.0.0/16")
PROVIDER = {"tool": {"version": "1", "download_mb": 1.0, "disk_mb": 2.0, "source": [{"kind": "archive", "url": "https://h/{version}"}]}}


def workload(name: str, container: dict[str, Any], pod: dict[str, Any] | None = None, requires: str = "") -> dict[str, Any]:
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": name}}, {"name": "models", "persistentVolumeClaim": {"claimName": "m"}},
        {"name": "config", "configMap": {"name": name}},
    ]  # fmt: skip
    spec = {"volumes": volumes, "containers": [{"name": name, "image": f"{name}:1", **container}], **(pod or {})}
    return {
        "kind": "Deployment", "metadata": {"name": name},
        "spec": {"template": {"metadata": {"annotations": {"ailab.dev/requires": requires}}, "spec": spec}},
    }  # fmt: skip


def service(name: str) -> dict[str, Any]:
    return {"kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}


def config(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def native(**sections: Any) -> NativeSpec:
    return NativeSpec.model_validate(sections)


def definition(
    objects: list[dict[str, Any]], specs: dict[str, NativeSpec], *, secrets: dict[str, str] | None = None, services: dict[str, bool] | None = None
) -> Definition:
    manifests = tuple(Manifest(o["metadata"]["name"], f"k8s/{o['metadata']['name']}/x.yml", o) for o in objects)
    settings = Settings(lab=Lab(tailnet="t"), services=services or {}, native=Native())
    given = {"root": Path("/R"), "settings": settings, "manifests": manifests, "native": specs, "gateway": Gateway(model_list=[]), "secrets": secrets or {}}
    # What else a definition holds is empty here.
    return Definition(**({f.name: {} for f in dataclasses.fields(Definition)} | given))


def lab(container: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **more: Any) -> Definition:
    """A definition with the service `it` beside two others, one of them off."""
    others = [service("other"), workload("other", {}), service("off"), workload("off", {})]
    specs = {n: native(container={n: {"command": ["entry"]}}) for n in ("other", "off")}
    specs["it"] = native(provider=PROVIDER, container={"it": {"command": ["entry"], **(spec or {})}}, volume=more.pop("volume", {}))
    objects = [config("it", {"c.yml": "x: 1"}), service("it"), workload("it", container or {}, requires=more.pop("requires", "")), *others]
    return definition(objects, specs, services=more.pop("services", {"off": False}), **more)


def plain(value: Any) -> Any:
    """A part of the plan as a case writes it."""
    if isinstance(value, EnvEntry):
        return [value.name, f"{'optional ' * value.optional}secret {value.secret}" if value.secret else value.value]
    return [plain(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_container(case: Path) -> None:
    assert case.read_text().startswith("# "), "the first line says what the case is about"
    data = tomllib.loads(case.read_text().replace("ADDRESS", ADDRESSES["it"]).replace("OTHER", ADDRESSES["other"]))
    volume = {n: {"path": p} for n, p in data.get("native_volume", {}).items()}
    plan = make_plan(lab(data.get("container"), data.get("native"), volume=volume), PLACE)
    [made] = next(p for p in plan.pods if p.name == "it").containers
    for key, expected in data["expect"].items():
        found = getattr(made, key)
        if isinstance(expected, dict):
            assert {k: getattr(found, k) for k in expected} == expected, key
        else:
            assert plain(found) == expected, key


def pods(plan: Plan) -> dict[str, Any]:
    return {p.name: p for p in plan.pods}


def checksum(made: Definition, name: str = "it") -> str:
    return str(pods(make_plan(made, PLACE))[name].checksum)


def test_a_service_that_is_off_has_no_pod_and_moves_nobody() -> None:
    on, off = make_plan(lab(services={"off": True}), PLACE), make_plan(lab(), PLACE)
    assert pods(on).keys() - pods(off).keys() == {"off"}
    assert {n: p.address for n, p in pods(off).items()}.items() <= {n: p.address for n, p in pods(on).items()}.items()
    assert {n: p.checksum for n, p in pods(off).items()}.items() <= {n: p.checksum for n, p in pods(on).items()}.items()


def test_requirements_that_are_off_are_none() -> None:
    assert pods(make_plan(lab(requires="other, off"), PLACE))["it"].requires == ["other"]
    assert pods(make_plan(lab(requires="other, off", services={"off": True}), PLACE))["it"].requires == ["other", "off"]


def test_a_service_without_native_toml_is_named() -> None:
    made = definition([service("it"), workload("it", {})], {})
    assert make_plan(made, PLACE).missing == {"it": "k8s/it/native.toml is missing, so nothing stands for its image"}


def test_zero_replicas_are_no_pod() -> None:
    made = lab()
    made.manifests[2].object["spec"]["replicas"] = 0
    assert "it" not in pods(make_plan(made, PLACE))


def test_the_checksum_changes_with_all_that_the_pod_is_made_of_and_nothing_else() -> None:
    secret = {"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "it", "key": "A"}}}]}
    mounted = {**secret, "volumeMounts": [{"name": "config", "mountPath": "/etc/it"}]}
    spec = {"providers": ["tool"]}
    base = lab(mounted, spec, secrets={"A": "1", "B": "1"})
    reference = checksum(base)
    assert reference == checksum(copy.deepcopy(base))
    assert reference == checksum(lab(mounted, spec, secrets={"A": "1", "B": "2"})), "a secret that it doesn't name"
    assert reference != checksum(lab(mounted, spec, secrets={"A": "2", "B": "1"})), "a secret that it names"
    assert reference != checksum(lab({**mounted, "args": ["-x"]}, spec, secrets={"A": "1"})), "an argument"
    other = copy.deepcopy(base)
    other.manifests[0].object["data"]["c.yml"] = "x: 2"
    assert reference != checksum(other), "a file that it mounts"
    assert checksum(base, "other") == checksum(other, "other")
    newer = copy.deepcopy(base)
    newer.native["it"] = native(provider={"tool": {**PROVIDER["tool"], "version": "2"}}, container={"it": {"command": ["entry"], **spec}})
    assert reference != checksum(newer), "the version of a provider"


def test_no_secret_is_in_the_plan() -> None:
    made = lab({"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "it", "key": "A"}}}]}, secrets={"A": "hush-hush-hush"})
    assert "hush-hush-hush" not in dump(make_plan(made, PLACE))


def test_providers_come_with_what_they_need() -> None:
    needing = {**PROVIDER, "top": {**PROVIDER["tool"], "needs": ["tool"]}, "unused": PROVIDER["tool"]}
    made = lab(spec={"providers": ["top"]})
    made.native["it"] = native(provider=needing, container={"it": {"command": ["entry"], "providers": ["top"]}})
    plan = make_plan(made, PLACE)
    assert plan.providers.keys() == {"top", "tool"}
    assert plan.providers["top"]["service_dir"] == "/R/k8s/it"
    assert plan.providers["top"]["needs"] == ["tool"]


def test_a_skipped_init_container_is_left_out() -> None:
    made = lab()
    made.manifests[2].object["spec"]["template"]["spec"]["initContainers"] = [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]
    spec = {"it": {"command": ["entry"]}, "a": {"skip": "downloads a model"}, "b": {"command": ["b"]}}
    made.native["it"] = native(provider=PROVIDER, container=spec)
    found: list[Container] = pods(make_plan(made, PLACE))["it"].init
    assert [c.argv for c in found] == [["b"]]


def test_what_the_first_chat_needs_comes_first() -> None:
    made = lab(services={"off": True})
    made.manifests[-1].object["spec"]["template"]["spec"]["priorityClassName"] = "ailab-first"
    assert [p.name for p in make_plan(made, PLACE).pods] == ["off", "it", "other"]


@pytest.mark.parametrize(
    ("quantity", "expected"), [("1Gi", 1073.741824), ("512Mi", 536.870912), ("1G", 1000), ("5M", 5), ("1000000", 1), ("0", 0), ("much", 0)]
)
def test_megabytes(quantity: str, expected: float) -> None:
    assert megabytes(quantity) == expected
