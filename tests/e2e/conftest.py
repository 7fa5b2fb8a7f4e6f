"""The real lab, once for all end-to-end tests: a fresh clone, brought up by the commands of the README."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

NETWORK, PORT = "127.93.0.0/16", 18893
# What must be ready wherever package registries can be reached.
CORE = {"ingress", "litellm", "llama-cpp", "neo4j", "open-webui", "phoenix", "postgresql", "prometheus"}


class Clone:
    """A fresh clone with a network and a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
        for name in filter(None, tracked.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        settings = folder / "lab.toml"
        text = settings.read_text("utf-8")
        assert '# network = "127.77.0.0/16"' in text
        assert "# port = 8800" in text
        settings.write_text(text.replace('# network = "127.77.0.0/16"', f'network = "{NETWORK}"').replace("# port = 8800", f"port = {PORT}"))

    def lab(self, *arguments: str, timeout: float = 900, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ./lab; asserts its exit code unless that is None."""
        done = subprocess.run(
            ["./lab", *arguments], cwd=self.folder, text=True, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL, **options
        )
        assert code is None or done.returncode == code, f"./lab {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def status(self) -> dict[str, Any]:
        """What `status --json` reports."""
        data: dict[str, Any] = json.loads(self.lab("status", "--json", code=None).stdout)
        return data

    def pods(self) -> dict[str, dict[str, Any]]:
        """The status by service."""
        return {p["name"]: p for p in self.status()["pods"]}

    def secrets(self) -> dict[str, str]:
        """The values of .env."""
        lines = (self.folder / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def ready(self) -> bool:
        """Whether everything that this machine can have is ready."""
        pods = self.pods()
        return pods.keys() >= CORE and all(p["ready"] or p["unavailable"] for p in pods.values())


def until(what: str, seconds: float, condition: Callable[[], Any]) -> Any:
    """Wait for a condition; fails with `what` after that time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A fresh clone, its lab stopped at the end."""
    made = Clone(tmp_path_factory.mktemp("fresh clone"))
    yield made
    made.lab("down", code=None)
    if os.environ.get("KEEP_LOGS"):
        shutil.copytree(made.folder / ".lab" / "logs", os.environ["KEEP_LOGS"], dirs_exist_ok=True)


@pytest.fixture(scope="session")
def lab(clone: Clone) -> Clone:
    """The clone with its lab up."""
    clone.lab("up")
    return clone
