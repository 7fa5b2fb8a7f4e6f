""".env: the lab's secrets; made from .env.example with random values, read without being executed."""

from __future__ import annotations

import os
import re
import secrets
import stat
import string
import tempfile
from pathlib import Path

from ailab.definition.problems import Problem, did_you_mean, unreadable

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_RANDOM = re.compile(r"\{random:(\d+)\}")
_ALPHABET = string.ascii_letters + string.digits


def parse(text: str, place: str) -> tuple[dict[str, str], list[Problem]]:
    """Read NAME=value lines; comments, blank lines and one pair of quotes around a value are understood.

    Returns:
        the values by name, and a problem for each line that is none of these. Values never appear in problems.
    """
    values: dict[str, str] = {}
    problems = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            problems.append(Problem(f"{place}:{number}", "not a NAME=value line", "write NAME=value, or # before a comment"))
            continue
        name, value = match[1], match[2].strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        elif value[:1] in ("'", '"'):
            problems.append(Problem(f"{place}:{number}", f"{name} begins with a quote that is not closed", "close it, or leave both away"))
            continue
        elif value.startswith("#") or " #" in value:
            # Some readers take it as part of the value, others don't.
            problems.append(Problem(f"{place}:{number}", f"{name} is followed by #", "give a comment a line of its own, a value with # quotes"))
            continue
        if name in values:
            problems.append(Problem(f"{place}:{number}", f"{name} stands here twice", "keep one of the two lines"))
            continue
        if "\0" in value:
            problems.append(Problem(f"{place}:{number}", f"{name} holds a NUL character", "remove it"))
            continue
        values[name] = value
    return values, problems


def fill(template: str) -> str:
    """The text of a new .env: each {random:N} of .env.example replaced by N random letters and digits."""
    return _RANDOM.sub(lambda m: "".join(secrets.choice(_ALPHABET) for _ in range(int(m[1]))), template)


def make(example: Path, target: Path) -> bool:
    """Write .env unless it exists; it is complete and 0600 from the moment it appears. Returns whether it was written."""
    if target.exists():
        return False
    handle, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".new", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(fill(example.read_text("utf-8")))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, target)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def read_example(path: Path) -> tuple[dict[str, str], list[Problem]]:
    """Read .env.example: the templates by name."""
    try:
        return parse(path.read_text("utf-8"), path.name)
    except FileNotFoundError:
        return {}, [Problem(path.name, "the file is missing", f"take it back from the repository: git checkout {path.name}")]
    except (OSError, UnicodeDecodeError) as error:
        return {}, [unreadable(path.name, error)]


def read(path: Path, known: dict[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """Read .env and hold it to .env.example: every name known, every needed value there, the file private.

    Args:
        known: the templates of .env.example by name.
    """
    if not path.exists():
        return {}, []
    try:
        values, problems = parse(path.read_text("utf-8"), path.name)
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError) as error:
        return {}, [unreadable(path.name, error)]
    if mode & 0o077:
        problems.append(Problem(path.name, f"mode {mode:04o} lets others read the secrets", f"chmod 600 {path.name}"))
    unparsed = {p.what.split()[0] for p in problems}
    for name, template in known.items():
        if template and not values.get(name) and name not in unparsed:
            prefix = template.partition("{random:")[0] if "{random:" in template else ""
            problems.append(Problem(f"{path.name} {name}", "the secret is missing", f"write {name}={prefix}…; `openssl rand -hex 24` makes a new one"))
    for name, value in values.items():
        if name not in known:
            problems.append(Problem(f"{path.name} {name}", "no secret of the lab has this name", did_you_mean(name, known)))
        if _RANDOM.search(value):
            problems.append(Problem(f"{path.name} {name}", "still the placeholder of .env.example", "put a value of your own"))
    return values, problems
