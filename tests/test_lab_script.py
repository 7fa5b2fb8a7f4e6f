"""The entry script: what it says when it cannot go on, and that it hands over quickly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PATH = "/usr/bin:/bin"


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    """A clone with nothing but the script and its locks, on a path with a space."""
    made = tmp_path / "a clone"
    made.mkdir()
    for name in ("lab", "requirements.lock", "requirements-test.lock"):
        shutil.copy2(root / name, made / name)
    return made


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def lab(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": PATH, "HOME": str(folder), **env}
    return subprocess.run([folder / "lab", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_an_old_python_is_refused(folder: Path, tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        script(bin_ / name, "exit 1")
    done = lab(folder, "version", PATH=f"{bin_}:{PATH}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "lab: no Python 3.11 or newer on PATH (install one, or set PYTHON=/path/to/python3)"


def test_a_python_without_venv_and_pip_is_named_with_the_way_out(folder: Path, tmp_path: Path) -> None:
    python = script(tmp_path / "python", f'[ "$1" = -m ] && {{ echo "No module named $2" >&2; exit 1; }}\nexec {sys.executable} "$@"')
    done = lab(folder, "version", PYTHON=str(python))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "lab: this Python has neither venv's pip nor pip, and uv is not on PATH (install one of them: 'apt install python3-venv', or uv)"
    )


def test_a_registry_that_cannot_be_reached_is_named(folder: Path, tmp_path: Path) -> None:
    """uv is there, but its index refuses."""
    uv = script(
        tmp_path / "uv",
        'if [ "$1" = venv ]; then for last; do :; done; mkdir -p "$last/bin"; exit 0; fi\n'
        'echo "error: Failed to fetch: connection refused" >&2; exit 2',
    )
    done = lab(folder, "version", PATH=f"{uv.parent}:{PATH}", PYTHON=sys.executable)
    assert done.returncode == 1
    assert "the project's environment could not be made: error: Failed to fetch: connection refused" in done.stderr
    assert done.stderr.rstrip().endswith("(whole log: .lab/setup.log)")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_is_not_ours_is_named(folder: Path) -> None:
    folder.chmod(0o555)
    done = lab(folder, "version", PYTHON=sys.executable)
    folder.chmod(0o755)
    assert done.returncode == 1
    assert "cannot write to" in done.stderr


def test_an_environment_that_is_there_is_used_at_once(folder: Path) -> None:
    venv = folder / ".lab" / "venv"
    (venv / "bin").mkdir(parents=True)
    shutil.copy2(folder / "requirements.lock", venv)
    python = script(venv / "bin" / "python", 'echo "$PYTHONPATH" "$@"')
    (venv / "made-by").write_text(f"{python}\n")
    assert lab(folder, "status", "--json").stdout.strip() == f"{folder} -P -m ailab status --json"


def test_an_environment_of_another_interpreter_is_made_anew(folder: Path, tmp_path: Path) -> None:
    """As after an upgrade of the system, when python3 has become another."""
    venv = folder / ".lab" / "venv"
    (venv / "bin").mkdir(parents=True)
    shutil.copy2(folder / "requirements.lock", venv)
    script(venv / "bin" / "python", "exit 99")
    (venv / "made-by").write_text("/usr/bin/python3.9\n")
    uv = script(tmp_path / "uv", 'echo "$@" >&2; exit 3')
    done = lab(folder, "status", PATH=f"{uv.parent}:{PATH}", PYTHON=sys.executable)
    assert done.returncode != 0
    assert "setting up the project's own environment" in done.stderr
    assert not (venv / "bin" / "python").exists()
