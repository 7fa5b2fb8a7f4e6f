"""The edge's nginx.conf: accepted by the real nginx, which then answers as the Ingress objects say."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from small_lab import until

from ailab.definition.native import read_native
from ailab.runtime.native import client, edge
from ailab.runtime.native.providers import Spec, install, installed
from tests.conftest import ROOT

PORT, UPSTREAM = 18801, "127.121.0.7"


def ingress(name: str, host: str, **notes: str) -> dict[str, Any]:
    backend = {"service": {"name": name, "port": {"number": 18802}}}
    rule = {"host": f"{name}.{host}.t1.ts.net", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    annotations = {f"nginx.org/{k.replace('_', '-')}": v for k, v in notes.items()}
    return {"kind": "Ingress", "metadata": {"name": name, "annotations": annotations}, "spec": {"rules": [rule]}}


OBJECTS = [
    {"kind": "Service", "metadata": {"name": "chat"}},
    ingress("chat", "gpu", client_max_body_size="100m", proxy_read_timeout="3600s", proxy_send_timeout="3601s", proxy_buffering="False"),
    ingress("plain", "gpu"),
]
ADDRESSES = {"chat": UPSTREAM, "plain": UPSTREAM}


def section(conf: str, host: str) -> str:
    """The server of one host."""
    return conf[conf.index(f"server_name {host};") :].partition("\n    server {")[0]


def test_what_the_annotations_say() -> None:
    conf = edge.nginx_conf(OBJECTS, ADDRESSES, "gpu", PORT)
    chat, plain = section(conf, "chat.gpu.localhost"), section(conf, "plain.gpu.localhost")
    for line in ("client_max_body_size 100m;", "proxy_read_timeout 3600s;", "proxy_send_timeout 3601s;", "proxy_buffering off;"):
        assert line in chat
    for line in ("client_max_body_size 1m;", "proxy_read_timeout 60s;", "proxy_send_timeout 60s;", "proxy_buffering on;"):
        assert line in plain
    assert f"proxy_pass http://{UPSTREAM}:18802;" in chat
    assert conf.count("listen ") == conf.count(f"listen 127.0.0.1:{PORT}")
    assert edge.urls(OBJECTS, "gpu", PORT) == {n: [f"http://{n}.gpu.localhost:{PORT}"] for n in ("chat", "plain")}


@pytest.fixture(scope="module")
def nginx() -> str:
    """The nginx that the lab itself runs; fetched if it isn't in the store yet."""
    native, _ = read_native(ROOT)
    spec = native["ingress"].provider["nginx"]
    client.make_state(ROOT)
    place = client.place(ROOT, "")
    provider = {
        "name": "nginx", "version": spec.version, "service_dir": str(ROOT / "k8s" / "ingress"), "needs": {}, "unavailable": "",
        "sources": [s.model_dump(exclude_unset=True) for s in spec.source], "store": place.store, "cache": place.cache,
        "python": place.python, "uv": place.uv, "download_mb": spec.download_mb,
    }  # fmt: skip
    parsed = Spec.parse(provider)
    return str((installed(parsed) or install(parsed).path) / "nginx")


def write(folder: Path, objects: list[dict[str, Any]]) -> Path:
    (folder / "tmp").mkdir(parents=True)
    conf = folder / "nginx.conf"
    conf.write_text(edge.nginx_conf(objects, ADDRESSES, "gpu", PORT).replace("%{pod}", str(folder)))
    return conf


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = "".join(f"{k}: {v}\n" for k, v in self.headers.items()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def running(nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """nginx before a server that tells what it got."""
    conf = write(tmp_path_factory.mktemp("an edge") / "pod", OBJECTS)
    with ThreadingHTTPServer((UPSTREAM, 18802), Echo) as upstream, (conf.parent / "log").open("wb") as log:
        threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.01}).start()
        child = subprocess.Popen([nginx, "-p", "./", "-e", "stderr", "-c", str(conf)], cwd=conf.parent, stdout=log, stderr=log)
        try:
            until("nginx listens", lambda: answers() or child.poll() is not None)
            assert child.poll() is None, (conf.parent / "log").read_text()
            yield
        finally:
            child.terminate()
            child.wait(10)
            upstream.shutdown()


def answers() -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), 1):
        return True
    return False


def ask(path: str, host: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", PORT, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Host": host, **{k.replace("_", "-"): v for k, v in headers.items()}})
        response = connection.getresponse()
        return response.status, response.read().decode()


@pytest.mark.network
def test_nginx_accepts_it(nginx: str, tmp_path: Path) -> None:
    conf = write(tmp_path / "a pod", OBJECTS)
    done = subprocess.run([nginx, "-t", "-p", "./", "-e", "stderr", "-c", str(conf)], cwd=conf.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


@pytest.mark.network
@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("host", ["evil.example", "chat.gpu.localhost.evil.example", "127.0.0.1:18801", "localhost", "chat"])
def test_an_unknown_name_is_refused(host: str) -> None:
    assert ask("/", host) == (421, "no service of this lab has that name\n")
    assert ask(edge.HEALTH, host)[0] == 204


@pytest.mark.network
@pytest.mark.usefixtures("running")
def test_what_a_service_gets_to_see() -> None:
    given = {
        "Tailscale_User_Login": "me@evil", "Tailscale_User_Name": "Me", "litellm_disable_message_redaction": "true",
        "X_Forwarded_For": "8.8.8.8", "X_Forwarded_Proto": "https", "X_Own": "kept", "Authorization": "Bearer k",
    }  # fmt: skip
    status, text = ask("/a?b=c", f"chat.gpu.localhost:{PORT}", **given)
    got = dict(line.split(": ", 1) for line in text.splitlines())
    assert status == 200
    assert got["Host"] == got["X-Forwarded-Host"] == f"chat.gpu.localhost:{PORT}"
    assert got["X-Forwarded-For"] == got["X-Real-IP"] == "127.0.0.1"
    assert (got["X-Forwarded-Proto"], got["X-Own"], got["Authorization"]) == ("http", "kept", "Bearer k")
    assert not [k for k in got if k.lower().startswith(("tailscale", "litellm"))]


@pytest.mark.network
@pytest.mark.usefixtures("running")
def test_the_size_of_a_body() -> None:
    body = os.urandom(2_000_000)
    assert ask("/", "plain.gpu.localhost", "POST", body)[0] == 413
    assert ask("/", "chat.gpu.localhost", "POST", body)[0] == 200
