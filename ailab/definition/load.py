"""The definition as one piece of plain data, or everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ailab.definition import dotenv
from ailab.definition.crosschecks import check_manifests, files_of
from ailab.definition.crosschecks_gateway import check_gateway
from ailab.definition.crosschecks_native import check_native
from ailab.definition.gateway import Gateway, read_gateway
from ailab.definition.images import read_images
from ailab.definition.manifests import Manifest, read_manifests
from ailab.definition.native import NativeSpec, helper_digests, read_native
from ailab.definition.problems import DefinitionError, Problem, unreadable
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
        digests: digest by image, empty where it isn't known yet.
        files: the content of each file that a ConfigMap is filled from, by its path from the root.
        secrets: .env by name; empty before the first `up`.
        helpers: a digest of each service's native/ folder: locks and scripts that native.toml names.
    """

    root: Path
    settings: Settings
    manifests: tuple[Manifest, ...]
    native: dict[str, NativeSpec]
    gateway: Gateway
    digests: dict[str, str]
    files: dict[str, str]
    secrets: dict[str, str] = field(repr=False)
    helpers: dict[str, str] = field(default_factory=dict)

    def natively(self) -> Definition:
        """The same lab as it runs without containers: some services are left out there."""
        return replace(self, settings=self.settings.natively())

    @property
    def services(self) -> list[str]:
        """Names of all services, on or off."""
        return sorted({m.service for m in self.manifests} - SHARED)


def load(root: Path) -> Definition:
    """Read the whole definition below `root`.

    Raises:
        DefinitionError: with every problem found in any of its files.
    """
    manifests, bad_manifests = read_manifests(root)
    native, bad_native = read_native(root)
    services = sorted({p.parent.name for p in (root / "k8s").glob("*/*.yml")} - SHARED)
    settings, bad_settings = read_settings(root / "lab.toml", services)
    gateway, bad_gateway = read_gateway(root)
    digests, bad_images = read_images(root)
    known, bad_example = dotenv.read_example(root / ".env.example")
    secrets, bad_secrets = dotenv.read(root / ".env", known) if not bad_example else ({}, [])
    problems = [*bad_manifests, *bad_native, *bad_settings, *bad_gateway, *bad_images, *bad_example, *bad_secrets]
    # What does not fit is told only where both sides could be read: the half of them would make the other half look wrong.
    if not bad_manifests and not bad_example:
        problems += check_manifests(manifests, root, known)
        if not bad_native:
            problems += check_native(manifests, native)
        if gateway:
            problems += check_gateway(gateway, manifests, known)
    files, bad_files = _read_files(manifests, root)
    problems += bad_files
    if settings is None or gateway is None or problems:
        raise DefinitionError(problems)
    return Definition(root, settings, tuple(manifests), native, gateway, digests, files, secrets, helper_digests(root))


def _read_files(manifests: list[Manifest], root: Path) -> tuple[dict[str, str], list[Problem]]:
    files: dict[str, str] = {}
    problems = []
    for name in {f for m in manifests for f in files_of(m) if (root / f).is_file()}:
        try:
            files[name] = (root / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(unreadable(name, error))
    return files, problems
