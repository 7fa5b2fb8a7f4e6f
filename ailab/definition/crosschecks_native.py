"""What no native.toml can be wrong about alone: containers, versions, providers and placeholders that must fit."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from ailab.definition.crosschecks import image_tag, pod_of
from ailab.definition.manifests import Manifest, containers
from ailab.definition.native import NativeSpec
from ailab.definition.problems import Problem, did_you_mean

# Not ${…}, which is a shell's.
_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z][a-z0-9-]*)\}")
_ALWAYS = frozenset({"address", "service", "python", "data"})
# The edge has no manifest of its own: its program gets the configuration that is made from the Ingresses.
_EDGE, _EDGE_WORDS = "ingress", frozenset({"conf", "pod"})


def check_native(manifests: Sequence[Manifest], native: Mapping[str, NativeSpec]) -> list[Problem]:
    """Every rule below."""
    owners: dict[str, str] = {}
    problems = []
    for service, spec in native.items():
        for name in spec.provider:
            other = owners.setdefault(name, service)
            if other != service:
                problems.append(Problem(_place(service, f"provider.{name}"), f"k8s/{other}/native.toml has a provider of that name", "rename one of the two"))
    for service, spec in native.items():
        problems += _providers(service, spec, owners)
        problems += _placeholders(service, spec, owners)
    for m in manifests:
        if m.pod and m.service in native:
            problems += _workload(m, native[m.service])
    return problems


def _place(service: str, where: str) -> str:
    return f"k8s/{service}/native.toml {where}"


def _providers(service: str, spec: NativeSpec, owners: Collection[str]) -> Iterator[Problem]:
    wanted = [(f"provider.{n}.needs", w) for n, p in spec.provider.items() for w in p.needs]
    wanted += [(f"container.{n}.providers", w) for n, c in spec.container.items() for w in c.providers]
    for where, name in wanted:
        if name not in owners:
            yield Problem(_place(service, where), f"no provider is named {name!r}", did_you_mean(name, owners))


def _placeholders(service: str, spec: NativeSpec, owners: Collection[str]) -> Iterator[Problem]:
    always = _ALWAYS | _EDGE_WORDS if service == _EDGE else _ALWAYS
    every = {p for c in spec.container.values() for p in c.providers}
    texts = [
        (f"container.{n}", t, c.providers) for n, c in spec.container.items() for t in (*c.command, *c.args, *c.env.values(), *c.path)
    ]  # fmt: skip
    texts += [(f"volume.{n}.path", v.path, sorted(every)) for n, v in spec.volume.items()]
    for where, text, listed in texts:
        for name in _PLACEHOLDER.findall(text):
            if name in always or name in listed:
                continue
            if name in owners:
                yield Problem(_place(service, where), f"{{{name}}} is a provider that is not asked for", f'add "{name}" to providers')
            else:
                yield Problem(_place(service, where), f"{{{name}}} stands for nothing", did_you_mean(name, always | set(owners)))


def _workload(m: Manifest, native: NativeSpec) -> Iterator[Problem]:
    pod = pod_of(m)
    images = {c["name"]: c["image"] for c in containers(pod)}
    volumes = {v["name"] for v in [*pod.get("volumes", []), *(c["metadata"] for c in m.object["spec"].get("volumeClaimTemplates", []))]}
    for name in images:
        if name not in native.container:
            yield Problem(f"k8s/{m.service}/native.toml", f"nothing stands for the container {name} of {m.file}", f"write [container.{name}]")
    for name in native.container:
        if name not in images:
            yield Problem(_place(m.service, f"container.{name}"), f"{m.file} has no such container", did_you_mean(name, images))
    for name in native.volume:
        if name not in volumes:
            yield Problem(_place(m.service, f"volume.{name}"), f"{m.file} has no such volume", did_you_mean(name, volumes))
    for image in sorted(set(images.values())):
        repository, tag = image_tag(image)
        for name, provider in native.provider.items():
            if provider.image == repository and tag and tag.removeprefix("v") != provider.version:
                yield Problem(_place(m.service, f"provider.{name}.version"), f"{provider.version} is not the image's {tag}", f"{m.file} says {image}")
