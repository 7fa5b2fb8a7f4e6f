"""k8s/: Kubernetes objects as plain data, each with the file that it comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ailab.definition import shapes
from ailab.definition.problems import Problem, unreadable
from ailab.definition.strict import problems_of

WORKLOADS = ("Deployment", "StatefulSet")
Object = dict[str, Any]


# The parser's words for the commonest mistakes don't tell what to do.
_YAML = {
    "but found another document": ("a second document begins here", "one document a file"),
    "found character that cannot start any token": ("a tab, or another character that nothing begins with", "indent with spaces, put texts in quotes"),
    "could not find expected ':'": ("a line before this place has no colon after its key", "write key: value"),
}
_TWICE = "stands twice"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe, and as kubectl reads: a key that stands twice in one mapping is an error, and a date is a text."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key that is not text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} {_TWICE}", key.start_mark)
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
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - the loader is a safe one
        if "&" in text:
            json.dumps(data, default=str)  # raises for an alias within its own anchor
        return data, []
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{place}:{mark.line + 1}:{mark.column + 1}" if mark else place
        what = error.problem or "something that is none"
        if what.endswith(_TWICE):
            return None, [Problem(where, what, "keep one of the two")]
        what, way_out = _YAML.get(what, (what, "mend the syntax at or before this place"))
        return None, [Problem(where, f"no valid YAML: {what}", way_out)]
    except yaml.YAMLError as error:
        return None, [Problem(place, f"no valid YAML: {str(error).splitlines()[0]}", "mend the syntax")]
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        # What PyYAML's constructors raise for a tag and a value that don't fit each other, such as !!int "x".
        return None, [Problem(place, "no valid YAML: a value that fits neither its tag nor its anchor", "write plain values, without ! and &")]


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
            data, found = None, [unreadable(place, error)]
        found = found or _shape(data, place)
        problems += found
        if not found:
            manifests.append(Manifest(path.parent.name, place, data))
    return manifests, problems


def _shape(data: Any, place: str) -> list[Problem]:
    """What of the object's shape is not as everything else relies on."""
    if not isinstance(data, dict):
        return [Problem(place, "not a Kubernetes object", "one mapping with apiVersion, kind and metadata")]
    kind = data.get("kind")
    model = shapes.BY_KIND.get(kind, shapes.AnyObject) if isinstance(kind, str) else shapes.AnyObject
    try:
        model.model_validate(data)
    except ValidationError as error:
        return problems_of(error, place, model)
    return []


def containers(pod: Object) -> list[Object]:
    """Init containers and containers, in the order in which they start."""
    return [*(pod.get("initContainers") or []), *pod["containers"]]
