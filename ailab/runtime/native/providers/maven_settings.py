"""Where Maven's repository is: the machine's own mirror, else the address that jgo ships."""

from __future__ import annotations

import ast
import base64
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ailab.runtime.native.providers.child import run
from ailab.runtime.native.providers.errors import BadSpec, SourceError
from ailab.runtime.native.providers.kinds.job import Job
from ailab.runtime.native.providers.kinds.python import uv_environment

# A resolver of Maven's in Python; of it only the address that it knows is used, since the lock holds the resolution.
_JGO = (
    "jgo==3.2.0 --hash=sha256:40d8f9135ebcb05a185c65de45d0bb7148f62820a2741adb1d1b06216a79cbf0"
    " --hash=sha256:a7a255b9dba13a9397d4a1c8937ad820699c6b8131cef1b8844c2016038d189e"
)
_CENTRAL = {"central", "*", "external:*"}


@dataclass(frozen=True)
class Repository:
    """A Maven repository, with what it wants to see of us."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


def repository(job: Job) -> Repository:
    """The repository that this machine is to use."""
    return mirror(Path.home() / ".m2" / "settings.xml") or Repository(_default(job))


def mirror(settings: Path) -> Repository | None:
    """The mirror of Maven's central repository that the user's settings.xml names, with its password."""
    try:
        tree = ElementTree.fromstring(settings.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ElementTree.ParseError) as error:
        raise SourceError(f"{settings}: can't be read ({error})") from None
    for element in tree.iterfind("{*}mirrors/{*}mirror"):
        names = {name.strip() for name in _text(element, "mirrorOf").split(",")}
        url = _text(element, "url").rstrip("/")
        if names & _CENTRAL and "!central" not in names and url.startswith(("https://", "http://")):
            return Repository(url, _password(tree, _text(element, "id")))
    return None


def _password(tree: ElementTree.Element, name: str) -> dict[str, str]:
    for server in tree.iterfind("{*}servers/{*}server"):
        user, password = _text(server, "username"), _text(server, "password")
        if _text(server, "id") == name and user and not password.startswith("{"):
            return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    return {}


def _text(element: ElementTree.Element, name: str) -> str:
    """A child's text, with ${env.NAME} put in."""
    text = (element.findtext(f"{{*}}{name}") or "").strip()
    return re.sub(r"\$\{env\.(\w+)\}", lambda match: os.environ.get(match[1], ""), text)


def _default(job: Job) -> str:
    """Reads the address from jgo's wheel, which is fetched once."""
    home = job.spec.cache / "jgo-3.2.0"
    constants = home / "jgo" / "constants.py"
    if not constants.is_file():
        job.progress.step("maven", "asking jgo for Maven's address")
        requirements = job.scratch / "jgo.txt"
        requirements.write_text(_JGO + "\n", "utf-8")
        flags: list[str | Path] = [
            "--quiet",
            "--require-hashes",
            "--no-deps",
            "--python",
            job.spec.python,
            "--target",
            home,
        ]
        command: list[str | Path] = [job.spec.uv, "pip", "install", *flags, "-r", requirements]
        run(command, "uv: fetching jgo", job.budget, cwd=job.scratch, env=uv_environment())
    for node in ast.parse(constants.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "MAVEN_CENTRAL_URL" for t in node.targets):
            return str(ast.literal_eval(node.value)).rstrip("/")
    raise BadSpec(f"{constants}: has no MAVEN_CENTRAL_URL")
