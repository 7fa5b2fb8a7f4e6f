"""The locks of kinds debian and maven: one thing a line, its sha256 last; `#` begins a comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ailab.runtime.native.providers.errors import BadSpec

_T = TypeVar("_T")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_~:-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")


@dataclass(frozen=True)
class Package:
    """A line of a debian.lock: `name version arch sha256`."""

    name: str
    version: str
    arch: str
    sha256: str


@dataclass(frozen=True)
class Jar:
    """A line of a maven.lock: `group:artifact:version[:classifier]:jar sha256`."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}{'-' if self.classifier else ''}{self.classifier}.jar"

    @property
    def path(self) -> str:
        """Where it stands below a Maven repository's address."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file}"


def packages(path: Path) -> list[Package]:
    """Reads a debian.lock.

    Raises:
        BadSpec: names every line that is wrong.
    """
    found: list[Package] = []
    wrong: list[str] = []
    for number, line in _lines(path):
        words = line.split()
        if len(words) != 4:
            wrong.append(f"{path}:{number}: {line!r} is not `name version arch sha256`")
        elif not _PACKAGE.fullmatch(words[0]) or not _WORD.fullmatch(words[1]) or not _WORD.fullmatch(words[2]):
            wrong.append(f"{path}:{number}: {line!r} names no package of Debian")
        elif not _SHA256.fullmatch(words[3]):
            wrong.append(f"{path}:{number}: {words[3]!r} is no sha256 (64 hex digits)")
        else:
            found.append(Package(*words))
    return _checked(path, found, [f"{p.name}:{p.arch}" for p in found], wrong)


def jars(path: Path) -> list[Jar]:
    """Reads a maven.lock.

    Raises:
        BadSpec: names every line that is wrong.
    """
    found: list[Jar] = []
    wrong: list[str] = []
    for number, line in _lines(path):
        coordinate, _, sha256 = line.partition(" ")
        parts = coordinate.split(":")
        if len(parts) not in (4, 5) or parts[-1] != "jar" or not all(map(_WORD.fullmatch, parts)):
            wrong.append(f"{path}:{number}: {line!r} is not `group:artifact:version[:classifier]:jar sha256`")
        elif not _SHA256.fullmatch(sha256.strip()):
            wrong.append(f"{path}:{number}: {sha256.strip()!r} is no sha256 (64 hex digits)")
        else:
            found.append(Jar(parts[0], parts[1], parts[2], parts[3] if len(parts) == 5 else "", sha256.strip()))
    return _checked(path, found, [jar.file for jar in found], wrong)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSpec(f"{path}: can't be read ({error})") from None
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.partition("#")[0].strip()
        if stripped:
            yield number, stripped


def _checked(path: Path, found: list[_T], names: list[str], wrong: list[str]) -> list[_T]:
    """What was found, unless it is nothing, a name stands in it twice or a line was wrong."""
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong += [f"{path}: {name} stands in it twice" for name in twice]
    if not found and not wrong:
        wrong.append(f"{path}: nothing stands in it")
    if wrong:
        raise BadSpec("\n".join(wrong))
    return found
