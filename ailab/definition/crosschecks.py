"""What no single manifest can be wrong about alone: names, ports, hosts, files and secrets that must fit each other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ailab.definition.manifests import Manifest, Object, containers
from ailab.definition.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from ailab.definition.load import Definition

NAMESPACE = "ai-lab"
DOMAIN = f"{NAMESPACE}.svc.cluster.local"
REQUIRES = "ailab.dev/requires"
FILES = "ailab.dev/files"
# Kinds that stand in no namespace.
_CLUSTER = ("ClusterRole", "ClusterRoleBinding", "IngressClass", "Namespace", "PersistentVolume", "PriorityClass", "RuntimeClass", "StorageClass")
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def check_manifests(manifests: Sequence[Manifest], root: Path, known: Collection[str]) -> list[Problem]:
    """Every rule below.

    Args:
        known: the names that .env.example explains.
    """
    return [
        *_objects(manifests),
        *_files(manifests, root),
        *_services(manifests),
        *_pods(manifests, known),
        *_references(manifests),
        *_cycles(manifests),
    ]


def service_ports(definition: Definition) -> dict[str, set[int]]:
    """The ports of each Service by its name."""
    return ports_of(definition.manifests)


def ports_of(manifests: Sequence[Manifest]) -> dict[str, set[int]]:
    """The ports of each Service by its name."""
    return {m.name: {p["port"] for p in m.object["spec"].get("ports", [])} for m in manifests if m.kind == "Service"}


def _objects(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    seen: dict[tuple[str, str], str] = {}
    hosts: dict[str, str] = {}
    for m in manifests:
        owner = seen.setdefault((m.kind, m.name), m.file)
        if owner != m.file:
            yield Problem(f"{m.file} metadata.name", f"{m.kind} {m.name} stands in {owner} too", "rename one of the two")
        namespace = m.object["metadata"].get("namespace")
        if m.kind not in _CLUSTER and namespace != NAMESPACE:
            what = f"{namespace!r} is not the lab's namespace" if namespace else "this key is missing"
            yield Problem(f"{m.file} metadata.namespace", what, f"write namespace: {NAMESPACE}")
        for rule in m.object["spec"]["rules"] if m.kind == "Ingress" else []:
            other = hosts.setdefault(rule["host"], m.file)
            if other != m.file:
                yield Problem(f"{m.file} spec.rules", f"the host {rule['host']} is served by {other} too", "one Ingress a host")


def files_of(m: Manifest) -> list[str]:
    """The files of the repository that a ConfigMap is filled from."""
    return str(m.object["metadata"].get("annotations", {}).get(FILES, "")).split() if m.kind == "ConfigMap" else []


def _files(manifests: Sequence[Manifest], root: Path) -> Iterator[Problem]:
    for m in manifests:
        place, seen = f"{m.file} {FILES}", dict[str, str]()
        for name in files_of(m):
            parts = PurePosixPath(name).parts
            if parts[0] not in ("k8s", "gateway") or ".." in parts:
                # Only there does `up` look for changes, and nothing from elsewhere may get into a ConfigMap.
                yield Problem(place, f"the file {name} is neither in k8s/ nor in gateway/", "paths count from the repository's root")
            elif not (root / name).is_file():
                yield Problem(place, f"the file {name} does not exist", "paths count from the repository's root")
            other = seen.setdefault(parts[-1], name)
            if other != name:
                yield Problem(place, f"{other} and {name} have one key, {parts[-1]}", "rename one of the two")


def _services(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    workloads = {m.name: m for m in manifests if m.pod}
    for m in manifests:
        if m.kind != "Service":
            continue
        if m.name not in workloads:
            yield Problem(f"{m.file} metadata.name", f"no workload is named {m.name!r}", did_you_mean(m.name, workloads))
            continue
        declared = {p["containerPort"]: p.get("name") for c in pod_of(workloads[m.name])["containers"] for p in c.get("ports", [])}
        for port in m.object["spec"].get("ports", []):
            number, target = port["port"], port.get("targetPort", port["port"])
            if target != number and declared.get(number) != target:
                yield Problem(f"{m.file} spec.ports", f"port {number} leads to {target}", f"a Service's port is its container's own: targetPort: {number}")
            if number not in declared:
                ports = ", ".join(map(str, sorted(declared)))
                yield Problem(
                    f"{m.file} spec.ports", f"no container of {m.name} declares port {number}", f"declared: {ports}" if ports else "none is declared"
                )
    services = ports_of(manifests)
    for m in manifests:
        for rule in m.object["spec"]["rules"] if m.kind == "Ingress" else []:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield from port_problem(service["name"], service["port"]["number"], f"{m.file} spec.rules", services)


def port_problem(service: str, port: int | None, place: str, services: dict[str, set[int]]) -> Iterator[Problem]:
    """What is wrong with a reference to a port of a Service."""
    if service not in services:
        yield Problem(place, f"no service is named {service!r}", did_you_mean(service, services))
    elif port not in services[service]:
        yield Problem(place, f"{service} has no port {port}", f"its ports: {', '.join(map(str, sorted(services[service])))}")


def pod_of(workload: Manifest) -> Object:
    """The pod template's spec of a manifest that is a workload."""
    pod: Object = workload.object["spec"]["template"]["spec"]
    return pod


def _pods(manifests: Sequence[Manifest], known: Collection[str]) -> Iterator[Problem]:
    workloads = {m.name for m in manifests if m.pod}
    for m in manifests:
        if not m.pod:
            continue
        for name in requires(m):
            if name not in workloads:
                yield Problem(f"{m.file} {REQUIRES}", f"no workload is named {name!r}", did_you_mean(name, workloads))
        taken: dict[int, str] = {}
        for c in containers(m.pod):
            place = f"{m.file} {c['name']}"
            if image_tag(c["image"])[1] in ("", "latest"):
                yield Problem(f"{place} image", f"{c['image']} names no version", "write a tag, and one that stays what it is")
            ports = [(p.get("name", ""), p["containerPort"]) for p in c.get("ports", [])]
            for _, number in ports:
                other = taken.setdefault(number, c["name"])
                if other != c["name"]:
                    yield Problem(f"{place} ports", f"port {number} is taken by container {other}", "one container a port")
            for kind in _PROBES:
                if c.get(kind):
                    yield from _probe(c[kind], f"{place} {kind}", ports)
            for entry in c.get("env", []):
                if ref := entry.get("valueFrom", {}).get("secretKeyRef"):
                    yield from _secret(ref, f"{place} env.{entry['name']}", m.service, known)
            if any("secretRef" in e for e in c.get("envFrom", [])):
                yield Problem(f"{place} envFrom", "takes a whole Secret", "name each variable: env with valueFrom.secretKeyRef")


def _probe(probe: Any, place: str, ports: list[tuple[str, int]]) -> Iterator[Problem]:
    if not any(probe.get(kind) for kind in ("httpGet", "tcpSocket", "exec")):
        yield Problem(place, "asks nothing that every runtime can ask", "write httpGet, tcpSocket or exec")
    for kind in ("httpGet", "tcpSocket"):
        port = (probe.get(kind) or {}).get("port")
        if port is not None and not any(port in pair for pair in ports):
            declared = ", ".join(f"{name} {number}".strip() for name, number in ports)
            yield Problem(place, f"port {port} is not declared", f"declared: {declared}" if declared else "the container declares none")


def _secret(ref: Object, place: str, service: str, known: Collection[str]) -> Iterator[Problem]:
    if ref["name"] != service:
        # Rendering makes one Secret for each service, of what its own pods name.
        yield Problem(place, f"the Secret {ref['name']} is not this service's", f"write name: {service}")
    if ref["key"] not in known:
        yield Problem(place, f"the secret {ref['key']} is not in .env.example", did_you_mean(ref["key"], known))


def _references(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    """ConfigMaps, claims and volumes that a pod names."""
    configs = {m.name: {*m.object.get("data", {}), *(PurePosixPath(f).name for f in files_of(m))} for m in manifests if m.kind == "ConfigMap"}
    claims = {m.name for m in manifests if m.kind == "PersistentVolumeClaim"}
    for m in manifests:
        if not m.pod:
            continue
        volumes = {c["metadata"]["name"] for c in m.object["spec"].get("volumeClaimTemplates", [])}
        for v in m.pod.get("volumes", []):
            volumes.add(v["name"])
            place = f"{m.file} volumes.{v['name']}"
            claim, config = v.get("persistentVolumeClaim"), v.get("configMap")
            if claim and claim["claimName"] not in claims:
                yield Problem(place, f"no claim is named {claim['claimName']!r}", did_you_mean(claim["claimName"], claims))
            if config:
                yield from _config(config["name"], [i["key"] for i in config.get("items", [])], place, configs)
            if "secret" in v:
                yield Problem(place, "a Secret as files", "secrets reach a container as variables: env with valueFrom.secretKeyRef")
        for c in containers(m.pod):
            place = f"{m.file} {c['name']}"
            for mount in c.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield Problem(f"{place} volumeMounts", f"no volume is named {mount['name']!r}", did_you_mean(mount["name"], volumes))
            for entry in c.get("env", []):
                if ref := entry.get("valueFrom", {}).get("configMapKeyRef"):
                    yield from _config(ref["name"], [ref["key"]], f"{place} env.{entry['name']}", configs)
            for entry in c.get("envFrom", []):
                if ref := entry.get("configMapRef"):
                    yield from _config(ref["name"], [], f"{place} envFrom", configs)


def _config(name: str, keys: list[str], place: str, configs: dict[str, set[str]]) -> Iterator[Problem]:
    if name not in configs:
        yield Problem(place, f"no ConfigMap is named {name!r}", did_you_mean(name, configs))
        return
    for key in keys:
        if key not in configs[name]:
            yield Problem(place, f"the ConfigMap {name} has no key {key!r}", did_you_mean(key, configs[name]))


def _cycles(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    graph = {m.name: requires(m) for m in manifests if m.pod}
    files = {m.name: m.file for m in manifests if m.pod}

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        return next((found for n in graph.get(name, []) if (found := walk(n, [*path, name]))), [])

    for name in sorted(graph):
        cycle = walk(name, [])
        if cycle and cycle[0] == min(cycle) == name:
            yield Problem(f"{files[name]} {REQUIRES}", f"services wait for each other: {' → '.join(cycle)}", "remove one of these")


def requires(manifest: Manifest) -> list[str]:
    """The workloads that must be ready before this one starts natively."""
    return split(manifest.object["spec"]["template"].get("metadata", {}).get("annotations", {}).get(REQUIRES, ""))


def split(value: str) -> list[str]:
    """The words of an annotation's comma list."""
    return [w for w in re.split(r"[,\s]+", value) if w]


def image_tag(image: str) -> tuple[str, str]:
    """Repository and tag of an image reference, a digest left out; the tag is empty where there is none."""
    name = image.partition("@")[0]
    repository, _, tag = name.rpartition(":")
    return (repository, tag) if repository and "/" not in tag else (name, "")


def upstream(url: str) -> tuple[str | None, int | None]:
    """Service and port that a URL leads to; (None, None) when it leads out of the lab.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.endswith("." + DOMAIN):
        return None, None
    return host.removesuffix("." + DOMAIN), parts.port or (443 if parts.scheme == "https" else 80)
