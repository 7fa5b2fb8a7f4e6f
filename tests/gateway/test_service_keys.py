"""The keys of the lab's services, against a small LiteLLM that keeps them in a dict."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

SCRIPT = Path(__file__).parents[2] / "gateway" / "service_keys.py"
_spec = importlib.util.spec_from_file_location("service_keys", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
service_keys = importlib.util.module_from_spec(_spec)
sys.modules["service_keys"] = service_keys
_spec.loader.exec_module(service_keys)

MASTER = "sk-master-0123456789abcdef"
KEYS = {"OPEN_WEBUI_GATEWAY_KEY": "sk-webui-0123456789abcdef", "PROMETHEUS_GATEWAY_KEY": "sk-prom-0123456789abcdefg"}


class FakeLiteLLM(ThreadingHTTPServer):
    """Key management as the script uses it; `log` is what LiteLLM's access log would show."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys: dict[str, dict[str, Any]] = {}
        self.db = "connected"
        self.log: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FakeLiteLLM

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        self.server.log.append(self.path)
        if place.path == "/health/readiness":
            self.reply({"status": "healthy", "db": self.server.db})
        elif not self.allowed():
            self.reply({}, 401)
        else:
            alias = parse_qs(place.query)["key_alias"][0]
            # Like LiteLLM, it finds parts of an alias too.
            self.reply({"keys": [k for k in self.server.keys.values() if alias in k["key_alias"]]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.log.append(self.path)
        keys = self.server.keys
        if not self.allowed():
            return self.reply({}, 401)
        if self.path == "/key/delete":
            for token in body["keys"]:
                del keys[token]
            return self.reply({})
        token = service_keys.token(body["key"])
        if self.path == "/key/generate":
            if token in keys or any(k["key_alias"] == body["key_alias"] for k in keys.values()):
                return self.reply({"error": f"{body['key']} exists"}, 400)
            keys[token] = {"token": token, "key_alias": body["key_alias"], "allowed_routes": body["allowed_routes"]}
        else:
            keys[token]["allowed_routes"] = body["allowed_routes"]
        return self.reply({})

    def allowed(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {MASTER}"

    def reply(self, data: object, status: int = 200) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def litellm() -> Iterator[FakeLiteLLM]:
    with FakeLiteLLM() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def run(server: FakeLiteLLM, **changes: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.defpath, "SERVICE_KEYS_URL": server.url, "LITELLM_MASTER_KEY": MASTER, "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run([sys.executable, SCRIPT], env=env | KEYS | changes, capture_output=True, text=True, timeout=30, check=False)


def test_makes_each_key_once(litellm: FakeLiteLLM) -> None:
    assert run(litellm).stdout == "service keys: open-webui made, prometheus made\n"
    assert {k["key_alias"]: k["allowed_routes"] for k in litellm.keys.values()} == {
        "open-webui": ["llm_api_routes"],
        "prometheus": ["/metrics"],
    }
    before = dict(litellm.keys)
    assert run(litellm).stdout == "service keys: open-webui unchanged, prometheus unchanged\n"
    assert litellm.keys == before


def test_a_changed_value_replaces_the_old_key(litellm: FakeLiteLLM) -> None:
    run(litellm)
    assert run(litellm, OPEN_WEBUI_GATEWAY_KEY="sk-another-0123456789").stdout == "service keys: open-webui replaced, prometheus unchanged\n"
    assert sorted(k["key_alias"] for k in litellm.keys.values()) == ["open-webui", "prometheus"]
    assert service_keys.token("sk-another-0123456789") in litellm.keys


def test_values_may_change_places(litellm: FakeLiteLLM) -> None:
    run(litellm)
    one, other = KEYS.values()
    assert run(litellm, OPEN_WEBUI_GATEWAY_KEY=other, PROMETHEUS_GATEWAY_KEY=one).returncode == 0
    assert litellm.keys[service_keys.token(other)]["key_alias"] == "open-webui"


def test_changed_rights_are_taken_back(litellm: FakeLiteLLM) -> None:
    run(litellm)
    token = service_keys.token(KEYS["PROMETHEUS_GATEWAY_KEY"])
    litellm.keys[token]["allowed_routes"] = ["/key/generate"]
    assert run(litellm).stdout == "service keys: open-webui unchanged, prometheus corrected\n"
    assert litellm.keys[token]["allowed_routes"] == ["/metrics"]


def test_keys_of_others_are_left_alone(litellm: FakeLiteLLM) -> None:
    litellm.keys["x"] = {"token": "x", "key_alias": "open-webui-of-anna", "allowed_routes": []}
    assert run(litellm).returncode == 0
    assert "x" in litellm.keys


def test_no_key_is_in_a_url_or_in_the_output(litellm: FakeLiteLLM) -> None:
    done = [run(litellm), run(litellm, LITELLM_MASTER_KEY="sk-wrong-0123456789abc")]
    # One that LiteLLM refuses, and repeats in its answer.
    litellm.keys[service_keys.token("sk-taken-0123456789abc")] = {"token": "t", "key_alias": "other", "allowed_routes": []}
    done.append(run(litellm, OPEN_WEBUI_GATEWAY_KEY="sk-taken-0123456789abc"))
    assert [d.returncode for d in done] == [0, 1, 1]
    assert done[2].stderr == "service keys: POST /key/generate was answered with HTTP 400\n"
    assert "sk-" not in "".join([*litellm.log, *(d.stdout + d.stderr for d in done)])


def test_a_gateway_without_its_database_is_not_ready(litellm: FakeLiteLLM) -> None:
    litellm.db = "Not connected"
    with pytest.raises(service_keys.ServiceKeyError, match="not ready within 0 s: no database"):
        service_keys.Gateway(litellm.url, MASTER).wait(0.3)


def test_a_gateway_that_is_away_is_waited_for_with_a_bound() -> None:
    with pytest.raises(service_keys.ServiceKeyError, match="refused"):
        service_keys.Gateway("http://127.0.0.1:1", MASTER).wait(0.3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"OPEN_WEBUI_GATEWAY_KEY": MASTER}, "OPEN_WEBUI_GATEWAY_KEY is the master key: open-webui needs one of its own"),
        ({"OPEN_WEBUI_GATEWAY_KEY": ""}, "OPEN_WEBUI_GATEWAY_KEY: LiteLLM takes keys that begin with sk-"),
        ({"PROMETHEUS_GATEWAY_KEY": KEYS["OPEN_WEBUI_GATEWAY_KEY"]}, "PROMETHEUS_GATEWAY_KEY is also another service's key"),
        ({"LITELLM_MASTER_KEY": ""}, "LITELLM_MASTER_KEY is not set"),
    ],
)
def test_values_that_cannot_be_are_named(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(service_keys.ServiceKeyError) as caught:
        service_keys.values({"LITELLM_MASTER_KEY": MASTER} | KEYS | changes)
    assert reason in str(caught.value)
