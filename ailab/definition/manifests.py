"""k8s/: Kubernetes objects as plain data, each with the file that it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ailab.definition.problems import Problem

WORKLOADS = ("Deployment", "StatefulSet")
Object = dict[str, Any]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe, and a key that stands twice in one mapping is an error, as it is for kubectl --validate=strict."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Manifest:
    """One object and where it stands.

    Attributes:
        service: name of its folder in k8s/.
        file: path from the repository's root.
        object: the object, as kubectl would send it.
    """

    service: str
    file: str
    object: Object

    @property
    def kind(self) -> str:
        return str(self.object["kind"])

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def pod(self) -> Object | None:
        """The pod template's spec, for workloads."""
        return self.object["spec"]["template"]["spec"] if self.kind in WORKLOADS else None


def load_yaml(text: str, place: str) -> tuple[Any, list[Problem]]:
    """One YAML document, or the problem with it, with line and column."""
    try:
        return yaml.load(text, Loader=_Loader), []  # noqa: S506 - the loader is a safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{place}:{mark.line + 1}:{mark.column + 1}" if mark else place
        return None, [Problem(where, f"no valid YAML: {error.problem}", "mend the syntax at or before this place")]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return None, [Problem(place, f"no valid YAML: {str(error).splitlines()[0]}", "mend the syntax")]


def read_manifests(root: Path) -> tuple[list[Manifest], list[Problem]]:
    """Every k8s/<service>/*.yml, sorted by path; one object a file."""
    manifests, problems = [], []
    for path in sorted((root / "k8s").glob("*/*.yml")):
        place = path.relative_to(root).as_posix()
        if path.name.endswith("-values.yml"):  # a Helm chart's values are no object
            continue
        try:
            data, found = load_yaml(path.read_text("utf-8"), place)
        except (OSError, UnicodeDecodeError) as error:
            data, found = None, [Problem(place, f"cannot be read: {error}", "the file must be readable UTF-8")]
        problems += found or list(_shape(data, place))
        if not found and not list(_shape(data, place)):
            manifests.append(Manifest(path.parent.name, place, data))
    return manifests, problems


def _shape(data: Any, place: str) -> Iterator[Problem]:
    """What everything else relies on: kind, names, and for workloads a pod with named containers."""
    if not isinstance(data, dict):
        yield Problem(place, "not a Kubernetes object", "one mapping with apiVersion, kind and metadata")
        return
    for key, kind in (("apiVersion", str), ("kind", str), ("metadata", dict)):
        if not isinstance(data.get(key), kind):
            yield Problem(f"{place} {key}", "this key is required", "see `kubectl explain`")
            return
    if not isinstance(data["metadata"].get("name"), str):
        yield Problem(f"{place} metadata.name", "this key is required", "give the object a name")
    if data["kind"] in WORKLOADS:
        spec: Any = data
        for key in ("spec", "template", "spec"):
            spec = spec.get(key) if isinstance(spec, dict) else None
        containers = spec.get("containers") if isinstance(spec, dict) else None
        if not isinstance(containers, list) or not containers:
            yield Problem(f"{place} spec.template.spec.containers", "this key is required", "name at least one container")
            return
        for c in [*containers, *(spec.get("initContainers") or [])]:
            if not isinstance(c, dict) or not isinstance(c.get("name"), str) or not isinstance(c.get("image"), str):
                yield Problem(f"{place} spec.template.spec.containers", "a container without name or image", "give it both")


def containers(pod: Object) -> list[Object]:
    """Init containers and containers, in the order in which they start."""
    return [*(pod.get("initContainers") or []), *pod["containers"]]
