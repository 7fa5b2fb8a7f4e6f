"""Does once, after the installation, what Open WebUI would do at every start: `build.py <the environment's folder>`.

- The change log of all versions is parsed (1.5 MB of Markdown: a second of CPU, 40 MB). Open WebUI looks for one two folders above its
  package first; there lies the newest version's part.
- A placeholder password is hashed, to which a sign-in of an unknown person is compared. Its hash is written into the source.
- The newest migration is looked up, so that serve.py can tell a database that has it.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import py_compile
import re
import sys
from pathlib import Path

HASHED = "bcrypt.hashpw(b'placeholder', bcrypt.gensalt()).decode('utf-8')"


def newest(changelog: str) -> str:
    """The part of the change log that tells of the newest version."""
    starts = [m.start() for m in re.finditer(r"^## \[", changelog, re.MULTILINE)]
    return changelog[: starts[1]] if len(starts) > 1 else changelog


def with_hash(source: str, value: str) -> str:
    """The source with a ready hash in place of the call that makes one; unchanged when that call is not in it."""
    return source.replace(HASHED, repr(value))


def head(migrations: Path) -> str:
    """The revision of the newest migration: the one that no other one follows. Read, not run: running them needs a configured server."""
    revisions: set[str] = set()
    followed: set[str] = set()
    for path in migrations.glob("versions/*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
                continue
            name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
            if name in ("revision", "down_revision"):
                value = ast.literal_eval(node.value)
                (revisions if name == "revision" else followed).update([value] if isinstance(value, str) else value or [])
    heads = revisions - followed
    if len(heads) != 1:
        raise SystemExit(f"open-webui: one newest migration expected in {migrations}, found {sorted(heads)}")
    return heads.pop()


def rewrite(path: Path, text: str) -> None:
    """Replace a file, not its content: uv may have linked it to its cache."""
    new = path.with_suffix(".new")
    new.write_text(text, "utf-8")
    os.replace(new, path)
    if path.suffix == ".py":
        py_compile.compile(str(path), doraise=True)


def main(environment: Path) -> None:
    """Do the three.

    Args:
        environment: the virtual environment's folder.
    """
    import bcrypt

    spec = importlib.util.find_spec("open_webui")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    changelog = (package / "CHANGELOG.md").read_text("utf-8")
    rewrite(package.parent.parent / "CHANGELOG.md", newest(changelog))
    auths = package / "models" / "auths.py"
    placeholder = bcrypt.hashpw(b"placeholder", bcrypt.gensalt()).decode()
    rewrite(auths, with_hash(auths.read_text("utf-8"), placeholder))
    (environment / "migrated").write_text(head(package / "migrations"), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
