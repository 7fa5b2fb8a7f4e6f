"""The definition as one piece of plain data, or everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ailab.definition import dotenv
from ailab.definition.crosschecks import cross_check
from ailab.definition.gateway import Gateway, read_gateway
from ailab.definition.manifests import Manifest, read_manifests
from ailab.definition.native import NativeSpec, read_native
from ailab.definition.problems import DefinitionError, Problem
from ailab.definition.settings import Settings, read_settings

# Folders of k8s/ that hold no service of their own: what they define is always there.
SHARED = frozenset({"namespace", "ingress"})


@dataclass(frozen=True)
class Definition:
    """What the lab is.

    Attributes:
        root: the repository's root.
        manifests: every object of k8s/, services that are off included.
        native: native.toml by service.
        secrets: .env by name; empty before the first `up`.
    """

    root: Path
    settings: Settings
    manifests: tuple[Manifest, ...]
    native: dict[str, NativeSpec]
    gateway: Gateway
    secrets: dict[str, str] = field(repr=False)

    @property
    def services(self) -> list[str]:
        """Names of all services, on or off."""
        return sorted({m.service for m in self.manifests} - SHARED)


def load(root: Path) -> Definition:
    """Read the whole definition below `root`.

    Raises:
        DefinitionError: with every problem found in any of its files.
    """
    problems: list[Problem] = []
    manifests, found = read_manifests(root)
    problems += found
    native, found = read_native(root)
    problems += found
    services = sorted({p.parent.name for p in (root / "k8s").glob("*/*.yml")} - SHARED)
    settings, found = read_settings(root / "lab.toml", services)
    problems += found
    gateway, found = read_gateway(root)
    problems += found
    secrets, found = dotenv.read(root / ".env", root / ".env.example")
    problems += found
    if settings is None or gateway is None or problems:
        raise DefinitionError(problems)
    definition = Definition(root, settings, tuple(manifests), native, gateway, secrets)
    known, _ = dotenv.parse((root / ".env.example").read_text("utf-8"), ".env.example")
    if problems := cross_check(definition, set(known)):
        raise DefinitionError(problems)
    return definition
