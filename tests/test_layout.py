"""The repository's form: sizes, who may import whom, and words that belong to no user's machine."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT, missing

# Tests may hold a table of cases more.
LIMIT, TEST_LIMIT = 300, 400
FOLDERS = ("ailab", "core", "gateway", "k8s", "tests", "bench")
MODULES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
# What runs beside the services, for days: nothing that isn't Python's own may break it or cost it memory.
SUPERVISOR = "ailab.runtime.native.guard"
# Put together here, so that this file doesn't hold them itself.
FORBIDDEN = [
    "/".join(["", "work", ""]),
    "/".join(["..", "shared"]),
    *(
        ".".join(parts)
        for parts in [
            ("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs"), ("repo1", "maven"), ("repo", "maven", "apache"), ("proxy", "golang"),
            ("sum", "golang"), ("deb", "debian", "org"), ("security", "debian", "org"), ("static", "crates", "io"),
        ]
    ),
]  # fmt: skip


def _files() -> list[Path]:
    """What git has, and what it would take."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        missing("git and a checkout")
    return [p for name in listed.split("\0") if name and (p := ROOT / name).is_file()]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _imports(path: Path) -> frozenset[str]:
    """The modules that a file imports, wherever in it; those of `from a import b` are a and a.b."""
    found = set()
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {n for i in ast.walk(tree) if isinstance(i, ast.If) and ast.unparse(i.test) == "TYPE_CHECKING" for s in i.body for n in ast.walk(s)}
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = _name(path).split(".")[: len(_name(path).split(".")) - node.level + (path.name == "__init__.py")]
                base = ".".join([*package, *filter(None, [base])])
            found |= {base, *(f"{base}.{a.name}" for a in node.names)}
    return frozenset(found)


def _closure(start: str) -> Iterator[tuple[str, str]]:
    """Each module of ours that the start needs, and each name that it imports."""
    ours = {_name(p): p for p in (ROOT / "ailab").rglob("*.py")}
    todo, seen = [start], set()
    while todo:
        name = todo.pop()
        if name in seen or name not in ours:
            continue
        seen.add(name)
        parents = [name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)]
        for other in {*_imports(ours[name]), *parents}:
            yield name, other
            todo.append(other)


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(ROOT)) for p in MODULES])
def test_a_module_can_be_read_at_a_sitting(path: Path) -> None:
    lines = path.read_text("utf-8").count("\n")
    assert lines <= (TEST_LIMIT if path.is_relative_to(ROOT / "tests") else LIMIT)


def test_core_knows_nothing_of_what_puts_it_up() -> None:
    for path in (ROOT / "core").rglob("*.py"):
        assert not any(n.split(".")[0] == "ailab" for n in _imports(path)), path


def test_only_the_command_line_imports_typer() -> None:
    for path in (ROOT / "ailab").rglob("*.py"):
        if "typer" in {n.split(".")[0] for n in _imports(path)}:
            assert path.is_relative_to(ROOT / "ailab" / "cli"), path


def test_each_layer_knows_only_those_below() -> None:
    below = {
        "ailab.definition": {"ailab.definition"},
        "ailab.render": {"ailab.definition", "ailab.render"},
        "ailab.runtime": {"ailab.definition", "ailab.render", "ailab.runtime"},
        "ailab.checks": {"ailab.definition", "ailab.render", "ailab.runtime", "ailab.checks"},
    }
    for layer, allowed in below.items():
        for path in (ROOT / layer.replace(".", "/")).rglob("*.py"):
            used = {".".join(n.split(".")[:2]) for n in _imports(path) if n.startswith("ailab.")}
            assert used <= allowed, path


@pytest.mark.parametrize("start", [SUPERVISOR, "ailab.runtime.native.server", "ailab.runtime.native.providers.__main__"])
def test_what_supervises_is_pythons_own(start: str) -> None:
    found = list(_closure(start))
    assert len({name for name, _ in found}) >= 5
    own = sys.stdlib_module_names | {"ailab", "compression"}  # the last one is Python's from 3.14 on
    foreign = {(name, other) for name, other in found if other.split(".")[0] not in own}
    assert foreign == set()


def test_it_loads_nothing_else_either() -> None:
    """The same, from the interpreter's own mouth."""
    code = (
        "import sys; import ailab.runtime.native.guard, ailab.runtime.native.server, ailab.runtime.native.providers.__main__;"
        "print(*sorted({n.split('.')[0] for n in sys.modules} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-P", "-S", "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert set(done.stdout.split()) == {"__main__", "ailab"}


def test_rendering_reads_no_file_and_no_clock() -> None:
    for path in (ROOT / "ailab" / "render").glob("*.py"):
        assert not _imports(path) & {"os", "time", "datetime", "pathlib.Path", "subprocess", "random", "secrets", "logging"}, path


def test_no_file_names_a_registry_or_this_machine() -> None:
    found = []
    for path in _files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {word}" for word in FORBIDDEN if word in text]
    assert found == []


def test_nothing_is_left_to_do() -> None:
    words = ["TO" + "DO", "FIX" + "ME", "X" + "XX"]
    found = []
    for path in _files():
        if path.suffix in (".py", ".toml", ".yml", ".md", ".sh", ".js", ".cypher", ".nix"):
            found += [f"{path.relative_to(ROOT)}: {w}" for w in words if w in path.read_text("utf-8")]
    assert found == []


def test_no_secret_is_tracked() -> None:
    names = {p.relative_to(ROOT).as_posix() for p in _files()}
    assert ".env" not in names
    assert not any(n.startswith(".lab/") for n in names)
