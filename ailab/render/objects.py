"""Structural edits on the manifests: what is on, host names, image digests, ConfigMaps from their files, checksums."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from ailab.definition.crosschecks import NAMESPACE, files_of
from ailab.definition.gateway import FILE as GATEWAY_FILE
from ailab.definition.load import SHARED, Definition
from ailab.definition.manifests import Manifest, Object, containers
from ailab.render.routes import gateway_config

PLACEHOLDER = "gpu-lab.tail1234.ts.net"
CHECKSUM = "ailab.dev/config-checksum"
# What other objects need to be there; all else keeps the order of its files.
_FIRST = {"Namespace": 0, "PriorityClass": 1, "Secret": 2, "ConfigMap": 3}


def render(definition: Definition, service: str | None = None, secrets: bool = False) -> list[Object]:
    """The objects of the lab, in an order in which they can be applied.

    Args:
        definition: the lab.
        service: only this service's objects.
        secrets: also the Secret objects, with their values in the clear.
    """
    host = f"{definition.settings.lab.host}.{definition.settings.lab.tailnet}.ts.net"
    objects = []
    for m in definition.manifests:
        if m.service not in SHARED and not definition.settings.is_on(m.service):
            continue
        obj = copy.deepcopy(m.object)
        _fill(obj, m, definition)
        objects.append((m.service, _hosts(obj, host)))
    configs = {o["metadata"]["name"]: o for _, o in objects if o["kind"] == "ConfigMap"}
    for _, obj in objects:
        if "template" in obj.get("spec", {}):
            _pod(obj["spec"]["template"], configs, definition.digests)
    if secrets:
        objects += list(_secrets(objects, definition.secrets))
    chosen = [o for s, o in objects if service is None or s == service]
    return sorted(chosen, key=lambda o: _FIRST.get(o["kind"], len(_FIRST)))


def _hosts(value: Any, host: str) -> Any:
    if isinstance(value, str):
        return value.replace(PLACEHOLDER, host)
    if isinstance(value, list):
        return [_hosts(v, host) for v in value]
    if isinstance(value, dict):
        return {k: _hosts(v, host) for k, v in value.items()}
    return value


def _fill(config: Object, manifest: Manifest, definition: Definition) -> None:
    for name in files_of(manifest):
        text = gateway_config(definition) if name == GATEWAY_FILE else definition.files[name]
        config.setdefault("data", {})[PurePosixPath(name).name] = text


def config_names(pod: Object) -> list[str]:
    """The ConfigMaps that a pod mounts or takes its environment from."""
    names = [v["configMap"]["name"] for v in pod.get("volumes", []) if "configMap" in v]
    for c in containers(pod):
        names += [e["configMapRef"]["name"] for e in c.get("envFrom", []) if "configMapRef" in e]
        names += [
            e["valueFrom"]["configMapKeyRef"]["name"] for e in c.get("env", []) if "configMapKeyRef" in e.get("valueFrom", {})
        ]
    return sorted(set(names))


def _pod(template: Object, configs: dict[str, Object], digests: dict[str, str]) -> None:
    pod = template["spec"]
    for c in containers(pod):
        if digest := digests.get(c["image"]):
            c["image"] += f"@{digest}"
    data = [configs[n].get("data", {}) for n in config_names(pod) if n in configs]
    if data:
        checksum = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
        template.setdefault("metadata", {}).setdefault("annotations", {})[CHECKSUM] = checksum[:16]


def _secrets(objects: list[tuple[str, Object]], values: dict[str, str]) -> Iterator[tuple[str, Object]]:
    wanted: dict[tuple[str, str], set[str]] = {}
    for service, obj in objects:
        pod = obj.get("spec", {}).get("template", {}).get("spec")
        for c in containers(pod) if pod else []:
            for entry in c.get("env", []):
                if ref := entry.get("valueFrom", {}).get("secretKeyRef"):
                    wanted.setdefault((service, ref["name"]), set()).add(ref["key"])
    for (service, name), keys in sorted(wanted.items()):
        yield service, {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "ailab"}},
            "type": "Opaque",
            "stringData": {k: values.get(k, "") for k in sorted(keys)},
        }
