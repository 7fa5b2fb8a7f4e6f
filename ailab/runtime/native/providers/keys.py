"""A provider's folder by its key: what it is made from, on which platform. Same inputs, same folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ailab.runtime.native.providers.errors import BadSpec
from ailab.runtime.native.providers.interpreters import allowed
from ailab.runtime.native.providers.spec import Source, Spec, platform_name

if TYPE_CHECKING:
    from ailab.runtime.native.providers.store import Installed

# Raise it when the same inputs come to mean another folder.
_SCHEMA = 1
# Fields that tell where a source may be used, not what comes of it.
_NOT_IN_KEY = {"platforms"}
_SKIPPED = {"__pycache__", "node_modules"}


def key(spec: Spec, source: Source, minor: int | None = None) -> str:
    """The sha256 over everything that the folder is made from.

    Args:
        minor: of the interpreter, for kinds that make a virtual environment.

    Raises:
        BadSpec: a file that the source names is missing.
    """
    files = {place: _digest(path) for place, path in sorted(_files(spec, source).items())}
    # Paths of needed providers get baked in, so another folder of theirs is another folder of ours.
    text = " ".join(source.build)
    needs = {name: folder.name for name, folder in spec.needs.items() if f"{{{name}}}" in text}
    inputs = {
        "schema": _SCHEMA,
        "name": spec.name,
        "version": spec.version,
        "kind": source.kind,
        "source": {field: value for field, value in source.fields.items() if field not in _NOT_IN_KEY},
        "files": files,
        "needs": needs,
        "platform": platform_name(),
        "python": minor,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def folder(spec: Spec, source: Source, minor: int | None = None) -> Path:
    """Where the source's result stands in the store."""
    return spec.store / f"{spec.name}-{spec.version}-{key(spec, source, minor)[:12]}"


def minors(source: Source) -> list[int | None]:
    """The interpreters' minor versions that a source's folder may have been made with."""
    return [*allowed(source.fields["python"])] if "python" in source.fields and source.lock else [None]


def find(spec: Spec) -> Installed | None:
    """The provider as it stands in the store, made from the first source possible; no network, no child process."""
    from ailab.runtime.native.providers.store import complete

    for source in spec.sources:
        if not source.runs_on(platform_name()):
            continue
        for minor in minors(source):
            if found := complete(folder(spec, source, minor)):
                return found
    return None


def installed(spec: Spec) -> Path | None:
    """The provider's folder, if it is there and whole."""
    found = find(spec)
    return found.path if found else None


def _files(spec: Spec, source: Source) -> dict[str, Path]:
    """The files that the source and its build name, by their path below the service's folder."""
    named = [source.lock] if source.lock else []
    for word in source.build:
        named += [match.strip("/") for match in re.findall(r"\{service\}/([^\s\"'{}]+)", word)]
    found: dict[str, Path] = {}
    for relative in named:
        path = spec.of_service(relative)
        for file in _walk(path) if path.is_dir() else [path]:
            found[file.relative_to(spec.service_dir.resolve()).as_posix()] = file
    return found


def _walk(top: Path) -> Iterator[Path]:
    for path in sorted(top.iterdir()):
        if path.is_dir() and path.name not in _SKIPPED:
            yield from _walk(path)
        elif path.is_file():
            yield path


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadSpec(f"{path}: can't be read ({error.strerror})") from None
