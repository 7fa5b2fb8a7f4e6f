"""What is to be made: a provider of a native.toml, with the places of this machine."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ailab.runtime.native.providers.errors import BadSpec

# What a kind can't do without; a tuple: one of them.
_REQUIRED: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "python": ("python", "lock"),
    "archive": ("url", ("sha256", "checksums")),
    "debian": ("packages",),
    "maven": ("lock",),
    "npm": ("lock",),
    "git": ("url", "commit"),
    "go": ("module", "version"),
}
# The field that names a lock file or a folder of locks.
_LOCKS = {"python": "lock", "debian": "packages", "maven": "lock", "npm": "lock", "git": "lock"}
_PLACEHOLDER = re.compile(r"\{([a-z0-9-]+)\}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
TIMEOUT_S = 1800.0


def platform_name() -> str:
    """This machine as native.toml's `platforms` names it: linux-x86_64, linux-arm64."""
    machine = platform.machine().lower()
    machine = {"aarch64": "arm64", "amd64": "x86_64"}.get(machine, machine)
    return f"{sys.platform}-{machine}"


@dataclass(frozen=True)
class Source:
    """One `[[provider.NAME.source]]`; `fields` are all of it that isn't empty."""

    kind: str
    version: str
    fields: Mapping[str, Any]

    @property
    def lock(self) -> str | None:
        """The lock's path below the service's folder."""
        return self.fields.get(_LOCKS.get(self.kind, ""))

    @property
    def build(self) -> list[str]:
        return list(self.fields.get("build", ()))

    def runs_on(self, name: str) -> bool:
        return name in self.fields.get("platforms", (name,))


@dataclass(frozen=True)
class Spec:
    """A provider to make.

    Attributes:
        needs: folders of the providers that its build names.
        download_mb: what fetching it takes (0: not known).
        disk_mb: what it takes when made (0: not known).
        python: ailab's own interpreter; taken where the source's request allows it.
        timeout_s: bound of one install, all sources together.
    """

    name: str
    version: str
    service_dir: Path
    sources: tuple[Source, ...]
    store: Path
    cache: Path
    python: Path
    uv: Path
    needs: Mapping[str, Path]
    unavailable: str = ""
    download_mb: float = 0
    disk_mb: float = 0
    timeout_s: float = TIMEOUT_S

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Spec:
        """Reads the JSON form.

        Raises:
            BadSpec: it can't be used; names every reason.
        """
        wrong = [f"{key} is missing" for key in ("name", "version", "service_dir", "sources", "store", "cache") if not data.get(key)]
        if wrong:
            raise BadSpec(f"provider {data.get('name', '?')}: {', '.join(wrong)}")
        name, version = str(data["name"]), str(data["version"])
        if not _NAME.fullmatch(name):
            wrong.append("its name may have a-z, 0-9 and - only")
        if not re.fullmatch(r"[\w.+~-]+", version):
            wrong.append(f"version {version!r} can't be part of a folder's name")
        sources = []
        for number, fields in enumerate(data["sources"], 1):
            if not isinstance(fields, Mapping):
                raise BadSpec(f"provider {name}: source {number} is no table")
            kept = {key: value for key, value in fields.items() if value not in (None, "", [], {}, False)}
            source = Source(str(kept.pop("kind", "?")), str(kept.get("version", version)), kept)
            wrong += [f"source {number} ({source.kind}): {text}" for text in _wrong_with(source)]
            sources.append(source)
        if wrong:
            raise BadSpec(f"provider {name}: {'; '.join(wrong)}")
        return cls(
            name=name,
            version=version,
            service_dir=Path(data["service_dir"]).absolute(),
            sources=tuple(sources),
            store=Path(data["store"]).absolute(),
            cache=Path(data["cache"]).absolute(),
            python=Path(data.get("python") or sys.executable).absolute(),
            uv=Path(data.get("uv") or "uv"),
            needs={key: Path(value) for key, value in (data.get("needs") or {}).items()},
            unavailable=str(data.get("unavailable") or ""),
            download_mb=float(data.get("download_mb") or 0),
            disk_mb=float(data.get("disk_mb") or 0),
            timeout_s=float(data.get("timeout_s") or TIMEOUT_S),
        )

    def of_service(self, relative: str) -> Path:
        """A file of the service's folder; it can't lie outside.

        Raises:
            BadSpec: it isn't there, or lies outside.
        """
        path = (self.service_dir / relative).resolve()
        if not path.is_relative_to(self.service_dir.resolve()):
            raise BadSpec(f"{self.service_dir}/{relative}: lies outside the service's folder")
        if not path.exists():
            raise BadSpec(f"{self.service_dir}/{relative}: there is no such file")
        return path

    def fill(self, text: str, folder: Path) -> str:
        """The text with {name}, {service}, {python} and the needed providers' folders put in.

        Raises:
            BadSpec: it names something else.
        """
        places = {self.name: folder, "service": self.service_dir, "python": self.python, **self.needs}

        def place(match: re.Match[str]) -> str:
            if match[1] not in places:
                raise BadSpec(f"provider {self.name}: {match[0]} in {text!r} names nothing (known: {', '.join(sorted(places))})")
            return str(places[match[1]])

        return _PLACEHOLDER.sub(place, text)


def _wrong_with(source: Source) -> list[str]:
    if source.kind not in _REQUIRED:
        return [f"there is no such kind (kinds: {', '.join(_REQUIRED)})"]
    wrong = []
    for need in _REQUIRED[source.kind]:
        one_of = (need,) if isinstance(need, str) else need
        if not any(field in source.fields for field in one_of):
            wrong.append(f"{' or '.join(one_of)} is missing")
    if source.kind == "git" and not re.fullmatch(r"[0-9a-f]{40}", str(source.fields.get("commit", ""))):
        wrong.append("commit must be 40 hex digits")
    if source.kind == "git" and "lock" in source.fields and "python" not in source.fields:
        wrong.append("python is missing beside lock")
    return wrong
