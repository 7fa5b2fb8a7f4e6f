"""`render`: the Kubernetes objects, or what rendering changes on the manifests."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml

from ailab.cli.output import emit, fail, paint
from ailab.definition.load import load
from ailab.definition.manifests import Object
from ailab.definition.problems import DefinitionError, did_you_mean
from ailab.render import render as objects_of


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, as a person would write them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(objects: list[Object]) -> str:
    """Objects as one stream of YAML documents."""
    return "".join("---\n" + yaml.dump(o, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=160) for o in objects)


def render(root: Path, service: str, diff: bool, secrets: bool, as_json: bool) -> int:
    """Print the objects of the lab or of one service."""
    try:
        definition = load(root)
    except DefinitionError as error:
        fail(*error.problems)
    folders = sorted({m.service for m in definition.manifests})
    if service and service not in folders:
        fail(f"no service is named {service!r} ({did_you_mean(service, folders)})", code=2)
    objects = objects_of(definition, service or None, secrets)
    if diff:
        _diff([m.object for m in definition.manifests if not service or m.service == service], objects)
    elif as_json:
        emit({"apiVersion": "v1", "kind": "List", "items": objects})
    else:
        print(dump(objects), end="")
    return 0


def _diff(before: list[Object], after: list[Object]) -> None:
    def key(o: Any) -> tuple[str, str]:
        return o["kind"], o["metadata"]["name"]

    old, new = {key(o): o for o in before}, {key(o): o for o in after}
    for kind, name in sorted(old.keys() | new.keys()):
        a = dump([old[kind, name]]) if (kind, name) in old else ""
        b = dump([new[kind, name]]) if (kind, name) in new else ""
        where = f"{kind}/{name}"
        for line in difflib.unified_diff(a.splitlines(), b.splitlines(), f"{where} (manifest)", f"{where} (rendered)", lineterm="", n=2):
            print(paint(line, {"+": "32", "-": "31", "@": "36"}.get(line[0], "0")))
