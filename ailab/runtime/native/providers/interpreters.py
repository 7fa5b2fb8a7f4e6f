"""Which Python a virtual environment is made with: ailab's own if it may, else one on PATH, else uv's download."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ailab.runtime.native.providers.errors import BadSpec

# The minor versions worth asking for, newest first; a lock made today can't count on wheels for later ones.
_KNOWN = (14, 13, 12, 11)
_CLAUSE = re.compile(r"(>=|<=|==|!=|~=|>|<)?\s*3(?:\.(\d+))?(\.\d+|\.\*)?")


@dataclass(frozen=True)
class Interpreter:
    """A CPython 3.`minor`; no path: uv is to fetch it."""

    minor: int
    path: Path | None

    @property
    def request(self) -> str:
        return str(self.path) if self.path else f"3.{self.minor}"


def allowed(request: str) -> list[int]:
    """Minor versions that a request like ">=3.11,<3.14" allows, newest first.

    Raises:
        BadSpec: it can't be read, or allows none that is known.
    """
    minors = list(_KNOWN)
    for clause in request.split(","):
        match = _CLAUSE.fullmatch(clause.strip())
        if not match:
            raise BadSpec(f'python = {request!r}: can\'t be read (write it like ">=3.11,<3.14")')
        sign, minor, patch = match[1] or "==", match[2], match[3]
        if minor is None:
            if sign in ("<", "<=", ">", "!="):
                minors = []
            continue
        wanted = int(minor)
        minors = [have for have in minors if _holds(have, sign, wanted, patch)]
    if not minors:
        raise BadSpec(f"python = {request!r}: allows none of 3.{_KNOWN[-1]} to 3.{_KNOWN[0]}")
    return minors


def _holds(have: int, sign: str, wanted: int, patch: str | None) -> bool:
    exact = patch is not None and patch != ".*"
    match sign:
        case ">=":
            return have >= wanted
        case "~=":
            # ~=3.11 means 3.11 or any later 3.x; ~=3.11.4 means 3.11 alone.
            return have == wanted if exact else have >= wanted
        case "==":
            return have == wanted
        case "!=":
            return exact or have != wanted
        case "<=":
            return have <= wanted
        case "<":
            return have < wanted or (exact and have == wanted)
        case _:
            return have > wanted or (exact and have == wanted)


def minor_of(python: Path) -> int | None:
    """The minor version of an interpreter, without running it: pyvenv.cfg or the file's name tells."""
    if python == Path(sys.executable):
        return sys.version_info.minor
    try:
        text = (python.parent.parent / "pyvenv.cfg").read_text("utf-8")
        match = re.search(r"^version(?:_info)?\s*=\s*3\.(\d+)", text, re.MULTILINE)
    except OSError:
        match = None
    match = match or re.fullmatch(r"python3\.(\d+)", python.resolve().name)
    return int(match[1]) if match else None


def candidates(request: str, own: Path) -> list[Interpreter]:
    """What to try for a request, best first. They are not run: a shim may turn out to be none."""
    minors = allowed(request)
    found = []
    if (minor := minor_of(own)) in minors and minor is not None:
        found.append(Interpreter(minor, own))
    for minor in minors:
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            path = Path(folder) / f"python3.{minor}"
            if folder.startswith("/") and path != own and os.access(path, os.X_OK):
                found.append(Interpreter(minor, path))
    # Not the newest for what uv fetches: packages have wheels for the one before it for certain.
    found += [Interpreter(minor, None) for minor in [*minors[1:2], *minors[:1]][:1]]
    return found
