"""`test`: what CI runs and a person runs too: linters, types, the quick tests, then those with the real services."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from ailab.cli.output import paint, say


def test(root: Path, arguments: list[str]) -> int:
    """Run everything, or with arguments only pytest with them.

    Returns:
        0 when every part passed; the first failing part's exit code otherwise.
    """
    python = [sys.executable, "-P", "-m"]
    pytest = [*python, "pytest", "-rs"]
    parts = {
        "lint": [*python, "ruff", "check", "ailab", "core", "tests", "gateway", "k8s", "bench"],
        "types": [*python, "mypy"],
        "quick tests": [*pytest, "-m", "not slow and not e2e and not network"],
        "slow tests, and those with registries and real services": [*pytest, "-m", "slow or e2e or network"],
    }
    if arguments == ["quick"]:
        del parts["slow tests, and those with registries and real services"]
    elif arguments:
        parts = {"pytest": [*pytest, *arguments]}
    if "lint" in parts:
        paths = parts["lint"].index("check") + 1
        parts["lint"][paths:] = [p for p in parts["lint"][paths:] if (root / p).exists()]
    env = {**os.environ, "PYTHONPATH": str(root)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    worst = 0
    for name, argv in parts.items():
        began = time.monotonic()
        say(paint(f"== {name}", "1"))
        code = subprocess.call(argv, cwd=root, env=env)
        say(f"== {name}: {'ok' if code == 0 else f'failed with exit code {code}'} after {time.monotonic() - began:.0f} s")
        worst = worst or code
    return worst
