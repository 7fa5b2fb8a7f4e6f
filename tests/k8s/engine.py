"""One engine in a lab of its own, for the end-to-end tests of the engines."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import missing
from tests.e2e.conftest import NETWORK, PORT, Clone

# Beside the lab of the other end-to-end tests.
OWN_NETWORK, OWN_PORT = "127.94.0.0/16", 18894
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@dataclass(frozen=True)
class Engine:
    """A ready engine: where its ports answer, and what its pod's status says."""

    address: str
    ports: list[int]
    status: dict[str, Any]

    def url(self, path: str, port: int | None = None) -> str:
        return f"http://{self.address}:{port or self.ports[0]}{path}"

    def text(self, path: str, port: int | None = None) -> str:
        with urllib.request.urlopen(self.url(path, port), timeout=60) as answer:
            return str(answer.read().decode())

    def get(self, path: str, port: int | None = None) -> Any:
        return json.loads(self.text(path, port))

    def post(self, path: str, data: dict[str, Any], port: int | None = None) -> Any:
        with self.stream(path, data, port) as answer:
            return json.load(answer)

    def stream(self, path: str, data: dict[str, Any], port: int | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url(path, port), json.dumps(data).encode(), headers)
        return urllib.request.urlopen(request, timeout=120)


@contextmanager
def running(service: str, folder: Path) -> Iterator[Engine]:
    """Brings the one service up; a machine that can't have it skips (in CI: fails) with the reason."""
    lab = Clone(folder)
    settings = lab.folder / "lab.toml"
    text = settings.read_text("utf-8").replace(f'network = "{NETWORK}"', f'network = "{OWN_NETWORK}"')
    text = text.replace(f"port = {PORT}", f"port = {OWN_PORT}").replace(f"# {service} = false", f"{service} = true")
    settings.write_text(text)
    try:
        # An engine that is off by default may have to be built first.
        up = lab.lab("up", service, timeout=1500, code=None)
        pod = lab.pods().get(service)
        assert pod, up.stdout + up.stderr
        if pod["unavailable"]:
            missing(f"{service}: {pod['reason']}")
        assert pod["ready"], lab.lab("logs", service, code=None).stdout[-4000:]
        yield Engine(pod["address"], pod["ports"], pod)
    finally:
        lab.lab("down", code=None)
