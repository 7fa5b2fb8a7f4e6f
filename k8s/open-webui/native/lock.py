"""Makes requirements.lock anew: `python lock.py 0.12.5`; needs uv on the PATH.

The wheel's own dependencies are those of the full image (PyTorch and more). The slim ones stand in a file that the wheel carries, and
the lock holds the wheel and these alone, so it is installed without asking any package for its dependencies.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")
NO_DEPENDENCIES = """\
[project]
name = "lock"
version = "0"
requires-python = ">=3.11,<3.13"

[[tool.uv.dependency-metadata]]
name = "open-webui"
version = "{version}"
requires-dist = []
"""
OPTIONS = [
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-annotate",
    "--no-header",
    "--quiet",
]


def main(version: str) -> None:
    """Write the lock of a version.

    Args:
        version: of Open WebUI.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pyproject.toml").write_text(NO_DEPENDENCIES.format(version=version), "utf-8")
        wheel = ["--no-deps", "--target", str(folder / "wheel"), f"open-webui=={version}"]
        subprocess.run(["uv", "pip", "install", "--quiet", *wheel], check=True)
        slim = (folder / "wheel" / "requirements-slim.txt").read_text("utf-8")
        (folder / "requirements.in").write_text(f"open-webui=={version}\n{slim}", "utf-8")
        subprocess.run(["uv", "pip", "compile", *OPTIONS, "requirements.in", "--output-file", str(LOCK)], cwd=folder, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
