"""k8s/<service>/native.toml: what stands for each image when the lab runs without containers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ailab.definition.problems import Problem
from ailab.definition.strict import Strict, problems_of, read_toml

Platforms = list[Literal["linux-x86_64", "linux-arm64"]]


class _Source(Strict):
    platforms: Platforms = []
    version: str | None = None
    build: list[str] = []


class Python(_Source):
    """A virtual environment by uv from a lock with hashes."""

    kind: Literal["python"]
    python: str
    lock: str
    no_deps: bool = False


class Archive(_Source):
    """A release of the vendor, by checksum."""

    kind: Literal["archive"]
    url: str
    sha256: dict[str, str] = {}
    checksums: str | None = None
    arch: dict[str, str] = {}
    strip: int = 0


class Debian(_Source):
    """Debian's packages, unpacked without installing them."""

    kind: Literal["debian"]
    packages: str


class Maven(_Source):
    """Jars by coordinates."""

    kind: Literal["maven"]
    coordinates: list[str]
    lock: str


class Npm(_Source):
    """Packages of npm, by their lock."""

    kind: Literal["npm"]
    lock: str


class Git(_Source):
    """A source tree at a commit, with a virtual environment for it."""

    kind: Literal["git"]
    url: str
    commit: str
    lock: str
    python: str
    no_deps: bool = False


class Go(_Source):
    """A program built from the Go module proxy."""

    kind: Literal["go"]
    module: str
    version: str
    env: dict[str, str] = {}
    tags: str = ""
    package: str = ""


Source = Annotated[Python | Archive | Debian | Maven | Npm | Git | Go, Field(discriminator="kind")]


class Provider(Strict):
    """One folder of the store."""

    version: str
    image: str | None = None
    download_mb: float
    disk_mb: float
    needs: list[str] = []
    unavailable: str = ""
    source: Annotated[list[Source], Field(min_length=1)]


class Container(Strict):
    """How a container's program is called natively."""

    providers: list[str] = []
    command: list[str] = []
    replace_command: bool = False
    args: list[str] = []
    env: dict[str, str] = {}
    path: list[str] = []
    not_root: bool = False
    stop_signal: Literal["SIGTERM", "SIGINT", "SIGQUIT"] = "SIGTERM"
    skip: str = ""


class Volume(Strict):
    """A pod's volume that is a provider's folder."""

    path: str


class NativeSpec(Strict):
    """The whole of one native.toml."""

    provider: dict[str, Provider] = {}
    container: dict[str, Container] = {}
    volume: dict[str, Volume] = {}


def helper_digests(root: Path) -> dict[str, str]:
    """A digest of each k8s/<service>/native/, its files' names and contents."""
    found = {}
    for folder in sorted((root / "k8s").glob("*/native")):
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not {"__pycache__", "node_modules"} & set(path.parts):
                digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        found[folder.parent.name] = digest.hexdigest()
    return found


def read_native(root: Path) -> tuple[dict[str, NativeSpec], list[Problem]]:
    """Every k8s/<service>/native.toml by service."""
    specs: dict[str, NativeSpec] = {}
    problems: list[Problem] = []
    for path in sorted((root / "k8s").glob("*/native.toml")):
        place = path.relative_to(root).as_posix()
        data, found = read_toml(path, place, "take it back from the repository: git checkout k8s")
        problems += found
        try:
            if data is not None:
                specs[path.parent.name] = NativeSpec.model_validate(data)
        except ValidationError as error:
            problems += problems_of(error, place, NativeSpec)
    return specs, problems
