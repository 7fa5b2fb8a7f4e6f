"""What the tests of the providers share: a web server that misbehaves on request, specs, and the real command."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from ailab.runtime.native.providers import Spec, platform_name

ROOT = Path(__file__).resolve().parents[5]
MODULE = "ailab.runtime.native.providers"
Behaviour = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """Answers as the test that owns the server says; keeps quiet."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((path, self.headers.get("Range"), self.headers.get("Authorization")))
        self.server.count[path] += 1
        behaviour = self.server.paths.get(path)
        if behaviour is None:
            self.answer(404, b"no such file")
        else:
            behaviour(self)

    @property
    def turn(self) -> int:
        """The how-manieth request for this path it is."""
        return self.server.count[self.path.partition("?")[0]]

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def file(self, body: bytes, cut: int | None = None) -> None:
        """The file, from the asked byte on; `cut`: the connection breaks after so many bytes of the answer."""
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(body) > 0:
            self.answer(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:] if cut is None else body[start : start + cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A web server of this machine."""

    daemon_threads = True
    # The default of 5 makes a burst of parallel requests wait a second for a second try.
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.paths: dict[str, Behaviour] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.count: Counter[str] = Counter()
        self.connections = 0
        self.closing = threading.Event()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle is what some tests are about."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def file(self, path: str, body: bytes) -> str:
        """Serves a file; returns its address."""
        self.paths[path] = lambda request: request.file(body)
        return self.url(path)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


class Lab:
    """A service's folder, a store and a cache below a path with a space, and the command over them."""

    def __init__(self, top: Path) -> None:
        self.service = top / "k8s" / "thing"
        self.store = top / "the store"
        self.cache = top / "the cache"
        (self.service / "native").mkdir(parents=True)

    def write(self, path: str, text: str | bytes) -> Path:
        file = self.service / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def data(self, *sources: dict[str, Any], **other: Any) -> dict[str, Any]:
        return {
            "name": "thing",
            "version": "1.0",
            "service_dir": str(self.service),
            "sources": list(sources),
            "store": str(self.store),
            "cache": str(self.cache),
            "python": sys.executable,
            "uv": find_uv_bin(),
            **other,
        }

    def spec(self, *sources: dict[str, Any], **other: Any) -> Spec:
        return Spec.parse(self.data(*sources, **other))

    def start(
        self,
        *sources: dict[str, Any],
        env: dict[str, str] | None = None,
        before: tuple[str, ...] = (),
        command: str = "install",
        **other: Any,
    ) -> subprocess.Popen[str]:
        """Starts the command; `before` is put before its argv."""
        process = subprocess.Popen(
            [*before, sys.executable, "-m", MODULE, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.service,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(self.data(*sources, **other)))
        process.stdin.close()
        return process

    def run(self, *sources: dict[str, Any], **other: Any) -> tuple[int, list[dict[str, Any]]]:
        """Runs the command; its exit code and events. Whatever it says on stderr is a failure of the test."""
        with self.start(*sources, **other) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            events = [json.loads(line) for line in process.stdout]
            assert process.stderr.read() == ""
        return process.returncode, events

    def left(self) -> list[str]:
        """What stands in the store, but for the locks."""
        return sorted(path.name for path in self.store.iterdir() if path.name != ".locks") if self.store.exists() else []


@pytest.fixture(scope="session")
def lab_at() -> type[Lab]:
    return Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "a lab")


@pytest.fixture
def archive(server: Server) -> Callable[..., dict[str, Any]]:
    """Serves bytes as an archive; returns the source for them."""

    def make(body: bytes, name: str = "program", **fields: Any) -> dict[str, Any]:
        url = server.file(f"/{name}", body)
        sha256 = {platform_name(): hashlib.sha256(body).hexdigest()}
        return {"kind": "archive", "url": url, "sha256": sha256, **fields}

    return make


@pytest.fixture
def need() -> Callable[..., str]:
    """The path of a program; without it the test is left out, and fails in CI."""

    def path(name: str) -> str:
        found = shutil.which(name)
        if not found:
            reason = f"{name} is not on this machine"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
        return found

    return path


@pytest.fixture
def in_mounts(need: Callable[..., str], tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """What to put before a command, so that it runs with mounts of its own: they end with it."""
    unshare = [need("unshare"), "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    probe = subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True, check=False)
    if probe.returncode:
        reason = f"this machine lets us mount nothing: {probe.stderr.decode().strip()}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)

    def before(script: str) -> tuple[str, ...]:
        return (*unshare, "sh", "-euc", f'{script}\nexec "$@"', "sh")

    return before
