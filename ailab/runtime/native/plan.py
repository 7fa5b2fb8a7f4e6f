"""From rendered objects and native.toml to the native plan; pure but for the reading of lock-free facts given to it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import Any

from ailab.definition.crosschecks import DOMAIN, NAMESPACE, REQUIRES, split
from ailab.definition.load import Definition
from ailab.definition.manifests import WORKLOADS, Object
from ailab.definition.native import Container as Spec
from ailab.definition.native import NativeSpec
from ailab.render import render
from ailab.runtime.native import edge
from ailab.runtime.native.addresses import assign
from ailab.runtime.native.model import PROVIDER, Container, EnvEntry, File, Plan, Pod, Probe
from ailab.runtime.native.mounts import Mounts, mounts_of
from ailab.runtime.native.process import memory_folder

FIRST = "ailab-first"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a lab lives on this machine; absolute paths."""

    lab: str
    root: str
    state: str
    inputs: str
    python: str
    uv: str
    store: str
    cache: str


def make_plan(definition: Definition, place: Place) -> Plan:
    """The plan for a definition at a place of this machine."""
    definition = definition.natively()
    objects = render(definition)
    native = definition.settings.native
    # Services that are off keep their address, so that turning one on changes nobody else's configuration.
    addresses = assign([m.name for m in definition.manifests if m.kind == "Service"], native.network)
    configs = {o["metadata"]["name"]: o.get("data", {}) for o in objects if o["kind"] == "ConfigMap"}
    urls = edge.urls(objects, definition.settings.lab.host, native.port)
    maker = _Maker(definition, place, addresses, configs)
    pods, missing = [], {}
    for obj in (o for o in objects if o["kind"] in WORKLOADS):
        name = obj["metadata"]["name"]
        if name not in definition.native:
            missing[name] = f"k8s/{name}/native.toml is missing, so nothing stands for its image"
            continue
        if obj["spec"].get("replicas", 1) == 0:
            continue
        pods.append(maker.pod(obj, urls.get(name, [])))
    if edge_spec := definition.native.get("ingress"):
        pods.append(maker.edge(edge_spec, edge.nginx_conf(objects, addresses, definition.settings.lab.host, native.port), native.port))
    pods = [dataclasses.replace(p, checksum=_checksum(p, definition)) for p in pods]
    used = {name for p in pods for c in [*p.init, *p.containers] for name in c.providers}
    return Plan(
        lab=place.lab,
        root=place.root,
        state=place.state,
        inputs=place.inputs,
        secrets=str(definition.root / ".env"),
        python=place.python,
        uv=place.uv,
        store=place.store,
        cache=place.cache,
        parallel_starts=native.parallel_starts,
        log_bytes=native.log_max_mb * 1_000_000,
        log_files=native.log_files,
        providers=_providers(definition, place, used),
        pods=sorted(pods, key=lambda p: (not p.first, p.name)),
        missing=missing,
    )


def _checksum(pod: Pod, definition: Definition) -> str:
    """Over everything the pod is made of: its secrets' values, its providers, and the scripts and locks that these name."""
    containers = [*pod.init, *pod.containers]
    named = sorted({e.secret for c in containers for e in c.env if e.secret})
    owners = {n: (s, p) for s, spec in definition.native.items() for n, p in spec.provider.items()}
    providers, queue = {}, [p for c in containers for p in c.providers]
    while queue:
        name = queue.pop()
        if name not in providers:
            service, provider = owners[name]
            providers[name] = [provider.model_dump(), definition.helpers.get(service, "")]
            queue += provider.needs
    data = [dataclasses.asdict(pod), [definition.secrets.get(n, "") for n in named], providers, definition.helpers.get(pod.name, "")]
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:20]


def _providers(definition: Definition, place: Place, used: set[str]) -> dict[str, dict[str, Any]]:
    owners = {n: (s, p) for s, spec in definition.native.items() for n, p in spec.provider.items()}
    found: dict[str, dict[str, Any]] = {}

    def add(name: str) -> None:
        if name in found:
            return
        service, provider = owners[name]
        found[name] = {
            "name": name,
            "version": provider.version,
            "service_dir": f"{place.root}/k8s/{service}",
            "sources": [s.model_dump(exclude_unset=True) for s in provider.source],
            "needs": provider.needs,
            "unavailable": provider.unavailable,
            "store": place.store,
            "cache": place.cache,
            "python": place.python,
            "uv": place.uv,
            "download_mb": provider.download_mb,
            "disk_mb": provider.disk_mb,
            "helpers": definition.helpers.get(service, ""),
        }
        for other in provider.needs:
            add(other)

    for name in sorted(used):
        add(name)
    return found


class _Maker:
    """Turns one workload at a time into a pod; holds what all of them share."""

    def __init__(
        self, definition: Definition, place: Place, addresses: dict[str, str], configs: dict[str, dict[str, str]]
    ) -> None:
        self.definition, self.place, self.addresses, self.configs = definition, place, addresses, configs
        # A whole name: neither the end of a longer one nor its beginning.
        self.names = re.compile(rf"(?<![\w.-])([a-z0-9-]+)\.{re.escape(DOMAIN)}(?![\w-]|\.\w)")
        self.known = sorted({n for s in definition.native.values() for n in s.provider})

    def pod(self, obj: Object, urls: list[str]) -> Pod:
        """The pod of one Deployment or StatefulSet."""
        name, template = obj["metadata"]["name"], obj["spec"]["template"]
        native, pod = self.definition.native[name], template["spec"]
        volumes = mounts_of(obj, self._folder(name), f"{self.place.state}/data", memory_folder(self.place.lab), self._volumes(native, name))
        made = {
            c["name"]: self._container(name, c, native.container[c["name"]], volumes)
            for c in [*pod.get("initContainers", []), *pod["containers"]]
            if not native.container[c["name"]].skip
        }
        files = [
            File(path, self._text(content, volumes))
            for path, content in volumes.files(self.configs)
        ]
        annotations = template["metadata"].get("annotations", {})
        on = self.definition.settings.is_on
        return Pod(
            name=name,
            address=self.addresses.get(name, "127.0.0.1"),
            ports=sorted({p["containerPort"] for c in pod["containers"] for p in c.get("ports", [])}),
            first=pod.get("priorityClassName") == FIRST,
            requires=[r for r in split(annotations.get(REQUIRES, "")) if on(r)],
            init=[made[c["name"]] for c in pod.get("initContainers", []) if c["name"] in made],
            containers=[made[c["name"]] for c in pod["containers"] if c["name"] in made],
            folders=volumes.folders,
            files=files,
            grace=pod.get("terminationGracePeriodSeconds", 30),
            urls=urls,
        )

    def edge(self, native: NativeSpec, conf: str, port: int) -> Pod:
        """The pod of the edge: nginx with the configuration made from the Ingresses."""
        folder = self._folder("ingress")
        spec = native.container["nginx"]
        fill = {**self._fill("ingress", "127.0.0.1"), "conf": f"{folder}/nginx.conf", "pod": folder}
        container = Container(
            name="nginx",
            argv=[_placeholders(a, fill) for a in [*spec.command, *spec.args]],
            env=[EnvEntry(k, _placeholders(v, fill)) for k, v in spec.env.items()],
            providers=spec.providers,
            readiness=Probe(kind="http", port=port, path=edge.HEALTH, period=5),
            liveness=Probe(kind="http", port=port, path=edge.HEALTH, period=10, failures=6),
        )
        return Pod(
            name="ingress", address="127.0.0.1", ports=[port], first=True, requires=[], init=[], containers=[container],
            folders=[folder, f"{folder}/tmp"], files=[File(f"{folder}/nginx.conf", conf.replace("%{pod}", folder))], grace=10, urls=[],
        )  # fmt: skip

    def _folder(self, pod: str) -> str:
        return f"{self.place.state}/pods/{pod}"

    def _fill(self, service: str, address: str) -> dict[str, str]:
        return {
            **{n: PROVIDER.format(n) for n in self.known},
            "address": address,
            "service": f"{self.place.root}/k8s/{service}",
            "python": self.place.python,
            "data": f"{self.place.state}/data",
        }

    def _volumes(self, native: NativeSpec, service: str) -> dict[str, str]:
        fill = self._fill(service, "")
        return {name: _placeholders(v.path, fill) for name, v in native.volume.items()}

    def _text(self, value: str, volumes: Mounts, container: str | None = None) -> str:
        value = self.names.sub(lambda m: self.addresses.get(m[1], m[0]), value)
        return volumes.rewrite(value, container)

    def _container(self, pod: str, c: Object, spec: Spec, volumes: Mounts) -> Container:
        fill = self._fill(pod, self.addresses.get(pod, "127.0.0.1"))
        own = [_placeholders(a, fill) for a in spec.command]

        def text(value: Any) -> str:
            return self._text(str(value), volumes, c["name"])

        manifest = [text(a) for a in c.get("command", [])]
        args = [] if spec.replace_command else [text(a) for a in c.get("args", [])]
        argv = (own if spec.replace_command or not manifest else manifest) + args + [_placeholders(a, fill) for a in spec.args]
        env = [e for entry in c.get("envFrom", []) for e in self._env_from(entry, text)]
        listed = {e["name"]: _env(e, self.configs, text) for e in c.get("env", [])}
        # Each in the manifest's place, so that a later $(NAME) sees it.
        env += (listed | {k: EnvEntry(k, _placeholders(v, fill)) for k, v in spec.env.items()}).values()
        probes = {k: _probe(c.get(f"{k}Probe"), c, text) for k in ("startup", "liveness", "readiness")}
        hook = c.get("lifecycle", {}).get("postStart", {}).get("exec", {}).get("command", [])
        limit = c.get("resources", {}).get("limits", {}).get("memory", "0")
        return Container(
            name=c["name"],
            argv=argv,
            env=env,
            providers=spec.providers,
            path=[_placeholders(p, fill) for p in spec.path],
            not_root=spec.not_root,
            stop_signal=spec.stop_signal,
            post_start=[text(a) for a in hook],
            memory_limit_mb=megabytes(str(limit)),
            **probes,
        )

    def _env_from(self, entry: Object, text: Any) -> list[EnvEntry]:
        prefix, ref = entry.get("prefix", ""), entry.get("configMapRef", {})
        return [EnvEntry(prefix + k, text(v)) for k, v in sorted(self.configs.get(ref.get("name", ""), {}).items())]


def _env(entry: Object, configs: dict[str, dict[str, str]], text: Any) -> EnvEntry:
    source = entry.get("valueFrom", {})
    if ref := source.get("secretKeyRef"):
        return EnvEntry(entry["name"], secret=ref["key"], optional=ref.get("optional", False))
    if ref := source.get("configMapKeyRef"):
        return EnvEntry(entry["name"], text(configs.get(ref["name"], {}).get(ref["key"], "")))
    if ref := source.get("fieldRef"):
        known = {"metadata.namespace": NAMESPACE, "metadata.name": "native"}
        return EnvEntry(entry["name"], known.get(ref["fieldPath"], ""))
    return EnvEntry(entry["name"], text(entry.get("value", "")))


def _probe(probe: Object | None, c: Object, text: Any) -> Probe | None:
    if not probe:
        return None
    ports = {p.get("name"): p["containerPort"] for p in c.get("ports", [])}
    http, tcp, command = probe.get("httpGet"), probe.get("tcpSocket"), probe.get("exec")
    numbers = {
        "initial_delay": probe.get("initialDelaySeconds", 0),
        "period": probe.get("periodSeconds", 10),
        "timeout": probe.get("timeoutSeconds", 1),
        "successes": probe.get("successThreshold", 1),
        "failures": probe.get("failureThreshold", 3),
    }
    if http:
        headers = {h["name"]: text(h["value"]) for h in http.get("httpHeaders", [])}
        port = ports.get(http["port"], http["port"])
        return Probe("http", port, http.get("path", "/"), http.get("scheme", "HTTP"), headers, **numbers)
    if tcp:
        return Probe("tcp", ports.get(tcp["port"], tcp["port"]), **numbers)
    return Probe("exec", command=[text(a) for a in (command or {}).get("command", [])], **numbers)


def _placeholders(value: str, fill: dict[str, str]) -> str:
    # At once: what was put in may hold braces itself.
    return re.sub(r"\{([^{}]+)\}", lambda m: fill.get(m[1], m[0]), value)


_UNITS = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "k": 1e3, "M": 1e6, "G": 1e9}


def megabytes(quantity: str) -> float:
    """A Kubernetes quantity of memory in MB; 0 for one that isn't understood."""
    for unit, factor in _UNITS.items():
        if quantity.endswith(unit):
            return float(quantity.removesuffix(unit)) * factor / 1e6
    return float(quantity) / 1e6 if quantity.isdigit() else 0
