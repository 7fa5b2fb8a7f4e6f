"""What no single file can be wrong about alone: names, ports, secrets and upstreams that must fit each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ailab.definition.gateway import ENV, FILE
from ailab.definition.manifests import Manifest, containers
from ailab.definition.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from ailab.definition.load import Definition

NAMESPACE = "ai-lab"
DOMAIN = f"{NAMESPACE}.svc.cluster.local"
REQUIRES = "ailab.dev/requires"
FILES = "ailab.dev/files"


def cross_check(definition: Definition, known: set[str]) -> list[Problem]:
    """Every rule below, over the whole definition.

    Args:
        definition: each file of which is valid by itself.
        known: the names that .env.example explains.
    """
    ports = service_ports(definition)
    return [
        *_objects(definition),
        *_services(definition),
        *_pods(definition, known),
        *_native(definition),
        *_routes(definition, ports, known),
    ]


def service_ports(definition: Definition) -> dict[str, set[int]]:
    """The ports of each Service by its name."""
    return {
        m.name: {p["port"] for p in m.object["spec"].get("ports", [])} for m in definition.manifests if m.kind == "Service"
    }


def _objects(definition: Definition) -> Iterator[Problem]:
    seen: dict[tuple[str, str], str] = {}
    hosts: dict[str, str] = {}
    for m in definition.manifests:
        owner = seen.setdefault((m.kind, m.name), m.file)
        if owner != m.file:
            yield Problem(f"{m.file} metadata.name", f"{m.kind} {m.name} stands in {owner} too", "rename one of the two")
        namespaced = m.kind not in ("Namespace", "PriorityClass")
        if namespaced and m.object["metadata"].get("namespace") != NAMESPACE:
            yield Problem(f"{m.file} metadata.namespace", f"not {NAMESPACE}", f"write namespace: {NAMESPACE}")
        if m.kind == "ConfigMap":
            for name in m.object["metadata"].get("annotations", {}).get(FILES, "").split():
                if not (definition.root / name).is_file():
                    yield Problem(f"{m.file} metadata.annotations", f"the file {name} does not exist", "paths count from the repository's root")
        if m.kind == "Ingress":
            for rule in m.object["spec"].get("rules", []):
                other = hosts.setdefault(rule.get("host", ""), m.file)
                if other != m.file:
                    yield Problem(f"{m.file} spec.rules", f"the host {rule.get('host')} is served by {other} too", "one Ingress a host")


def _services(definition: Definition) -> Iterator[Problem]:
    workloads = {m.name: m for m in definition.manifests if m.pod}
    for m in definition.manifests:
        if m.kind != "Service":
            continue
        if m.name not in workloads:
            yield Problem(f"{m.file} metadata.name", f"no workload is named {m.name}", did_you_mean(m.name, workloads))
            continue
        declared = {p["containerPort"]: p.get("name") for c in workloads[m.name].pod["containers"] for p in c.get("ports", [])}  # type: ignore[index]
        for port in m.object["spec"].get("ports", []):
            target = port.get("targetPort", port["port"])
            if target != port["port"] and declared.get(port["port"]) != target:
                yield Problem(f"{m.file} spec.ports", f"port {port['port']} leads to {target}", "Service port and target port are the same number")
            if port["port"] not in declared:
                yield Problem(
                    f"{m.file} spec.ports", f"no container of {m.name} declares port {port['port']}", f"declared: {sorted(declared)}"
                )


def _pods(definition: Definition, known: set[str]) -> Iterator[Problem]:
    workloads = {m.name for m in definition.manifests if m.pod}
    for m in definition.manifests:
        if not m.pod:
            continue
        template = m.object["spec"]["template"]
        for name in split(template.get("metadata", {}).get("annotations", {}).get(REQUIRES, "")):
            if name not in workloads:
                yield Problem(f"{m.file} {REQUIRES}", f"no workload is named {name!r}", did_you_mean(name, workloads))
        taken: dict[int, str] = {}
        for c in containers(m.pod):
            place = f"{m.file} {c['name']}"
            for port in c.get("ports", []):
                other = taken.setdefault(port["containerPort"], c["name"])
                if other != c["name"]:
                    yield Problem(f"{place} ports", f"port {port['containerPort']} is taken by container {other}", "one container a port")
            names = {p.get("name"): p["containerPort"] for p in c.get("ports", [])}
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                yield from _probe(c.get(kind), f"{place} {kind}", names)
            for entry in c.get("env", []):
                key = entry.get("valueFrom", {}).get("secretKeyRef", {}).get("key")
                if key and key not in known:
                    yield Problem(f"{place} env.{entry['name']}", f"the secret {key} is not in .env.example", did_you_mean(key, known))
    yield from _cycles(definition)


def _probe(probe: Any, place: str, names: dict[Any, int]) -> Iterator[Problem]:
    for kind in ("httpGet", "tcpSocket"):
        port = (probe or {}).get(kind, {}).get("port")
        if port is not None and port not in names and port not in names.values():
            yield Problem(place, f"port {port} is not declared", f"declared: {', '.join(f'{n} {p}' for n, p in names.items()) or 'none'}")


def _cycles(definition: Definition) -> Iterator[Problem]:
    graph = {m.name: requires(m) for m in definition.manifests if m.pod}

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name):], name]
        return next((found for n in graph.get(name, []) if (found := walk(n, [*path, name]))), [])

    for name in sorted(graph):
        cycle = walk(name, [])
        if cycle and cycle[0] == min(cycle) == name:
            yield Problem(f"k8s {REQUIRES}", f"services wait for each other: {' → '.join(cycle)}", "remove one of these")


def requires(manifest: Manifest) -> list[str]:
    """The workloads that must be ready before this one starts natively."""
    return split(manifest.object["spec"]["template"].get("metadata", {}).get("annotations", {}).get(REQUIRES, ""))


def split(value: str) -> list[str]:
    """The words of an annotation's comma list."""
    return [w for w in re.split(r"[,\s]+", value) if w]


def image_tag(image: str) -> tuple[str, str]:
    """Repository and tag of an image reference, a digest left out."""
    repository, _, tag = image.partition("@")[0].rpartition(":")
    return repository, tag


def _native(definition: Definition) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for service, spec in definition.native.items():
        for name in spec.provider:
            other = owners.setdefault(name, service)
            if other != service:
                yield Problem(f"k8s/{service}/native.toml provider.{name}", f"k8s/{other} has a provider of that name too", "rename one")
    for m in definition.manifests:
        native = definition.native.get(m.service)
        if not m.pod or native is None:
            continue
        place = f"k8s/{m.service}/native.toml"
        for c in containers(m.pod):
            if c["name"] not in native.container:
                yield Problem(place, f"nothing stands for container {c['name']}", f"write [container.{c['name']}]")
                continue
            repository, tag = image_tag(c["image"])
            for name, provider in native.provider.items():
                if provider.image == repository and tag.removeprefix("v") != provider.version:
                    yield Problem(f"{place} provider.{name}.version", f"{provider.version} is not the image's {tag}", f"{m.file} says {c['image']}")
    for service, spec in definition.native.items():
        wanted = [(f"provider.{n}.needs", w) for n, p in spec.provider.items() for w in p.needs]
        wanted += [(f"container.{n}.providers", w) for n, c in spec.container.items() for w in c.providers]
        for where, name in wanted:
            if name not in owners:
                yield Problem(f"k8s/{service}/native.toml {where}", f"no provider is named {name!r}", did_you_mean(name, owners))


def _routes(definition: Definition, ports: dict[str, set[int]], known: set[str]) -> Iterator[Problem]:
    for i, route in enumerate(definition.gateway.model_list):
        place = f"{FILE} model_list.{i} ({route.model_name})"
        for name in route.secrets:
            if name not in known:
                yield Problem(place, f"{ENV}{name} is not in .env.example", did_you_mean(name, known))
        base = route.litellm_params.get("api_base")
        if base is None:
            if not route.secrets:
                yield Problem(place, "neither api_base nor a key", "a local model needs api_base, a cloud model api_key: os.environ/NAME")
            continue
        service, port = upstream(str(base))
        if service is None:
            continue
        if service not in ports:
            yield Problem(f"{place} api_base", f"no service is named {service!r}", did_you_mean(service, ports))
        elif port not in ports[service]:
            yield Problem(f"{place} api_base", f"{service} has no port {port}", f"its ports: {sorted(ports[service])}")


def upstream(url: str) -> tuple[str | None, int | None]:
    """Service and port that a URL leads to; (None, None) when it leads out of the lab."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.endswith("." + DOMAIN):
        return None, None
    return host.removesuffix("." + DOMAIN), parts.port or (443 if parts.scheme == "https" else 80)
