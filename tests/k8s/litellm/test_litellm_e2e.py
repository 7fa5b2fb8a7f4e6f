"""LiteLLM started as native.toml says, with the manifest's own environment, on a real database."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

pytestmark = pytest.mark.e2e
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SERVICE = ROOT / "k8s" / "litellm"
NATIVE = tomllib.loads((SERVICE / "native.toml").read_text("utf-8"))["container"]["litellm"]
CONTAINER = yaml.safe_load((SERVICE / "deployment.yml").read_text("utf-8"))["spec"]["template"]["spec"]["containers"][0]
QUESTION = "What is the capital of France?"


class Upstream(BaseHTTPRequestHandler):
    """An engine that speaks OpenAI's protocol; a question that contains `slow` takes two seconds."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "slow" in json.dumps(asked):
            time.sleep(2)
        message = {"role": "assistant", "content": "Paris."}
        answer = {"id": f"chatcmpl-{uuid.uuid4()}", "object": "chat.completion", "created": int(time.time()), "model": asked["model"]}
        answer |= {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        content = json.dumps(answer | {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@dataclass
class Gateway:
    """A running LiteLLM and what belongs to it."""

    address: str
    env: dict[str, str]
    command: list[str]
    folder: Path
    database: str
    spans: Path
    process: subprocess.Popen[bytes] | None = None
    logs: list[Path] = field(default_factory=list)

    def start(self, **changes: str) -> subprocess.Popen[bytes]:
        self.logs.append(self.folder / f"log-{len(self.logs)}")
        with self.logs[-1].open("wb") as log:
            self.process = subprocess.Popen(self.command, env=self.env | changes, cwd=self.folder, stdout=log, stderr=log)
        return self.process

    def ready(self, seconds: float = 90) -> None:
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.logs[-1].read_text()[-3000:]
            try:
                if self.readiness() == (200, "connected"):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise AssertionError(self.logs[-1].read_text()[-3000:])

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def readiness(self) -> tuple[int, str]:
        answer = httpx.get(f"http://{self.address}:4000/health/readiness", timeout=10, trust_env=False)
        return answer.status_code, answer.json().get("db")

    def ask(self, method: str, path: str, key: str, body: Any = None, **headers: str) -> httpx.Response:
        auth = {"Authorization": f"Bearer {key}"} | headers
        return httpx.request(method, f"http://{self.address}:4000{path}", headers=auth, json=body, timeout=30, trust_env=False)

    def chat(self, key: str, text: str = QUESTION, **headers: str) -> httpx.Response:
        body = {"model": "local/smollm2", "messages": [{"role": "user", "content": text}]}
        return self.ask("POST", "/v1/chat/completions", key, body, **headers)

    def rows(self, query: str, *values: object) -> list[Any]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(query, values).fetchall()

    def engine(self) -> int:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(c) for c in children if b"engine.js" in Path(f"/proc/{c}/cmdline").read_bytes())


def environment(secrets: dict[str, str], addresses: dict[str, str]) -> dict[str, str]:
    """The manifest's environment as Kubernetes would give it, with this test's addresses."""
    env: dict[str, str] = {}
    for entry in CONTAINER["env"]:
        value = entry["value"] if "value" in entry else secrets[entry["valueFrom"]["secretKeyRef"]["key"]]
        value = re.sub(r"\$\((\w+)\)", lambda m: env[m[1]], value)
        for name, address in addresses.items():
            value = value.replace(f"{name}.ai-lab.svc.cluster.local", address)
        env[entry["name"]] = value
    return env


@pytest.fixture(scope="module")
def gateway(provider: Callable[[str], Path], postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("litellm")
    postgres.database("litellm")
    names = ("litellm", "llama-cpp", "phoenix")
    # Beside PostgreSQL's own address, which belongs to this process alone.
    prefix, last = postgres.address.rsplit(".", 1)
    first, second, third = prefix.split(".")
    addresses = {name: f"{first}.{int(second) + 1 + i}.{third}.{last}" for i, name in enumerate(names)}
    addresses["postgresql"] = postgres.address
    secrets = {e["valueFrom"]["secretKeyRef"]["key"]: f"sk-{uuid.uuid4().hex}" for e in CONTAINER["env"] if "valueFrom" in e}
    secrets["LITELLM_DB_PASSWORD"] = postgres.password
    folders = {name: str(provider(name)) for name in ("litellm", "node", "prisma-engine")}
    places = folders | {"service": str(SERVICE), "address": addresses["litellm"]}

    def fill(text: str) -> str:
        return re.sub(r"\{([a-z-]+)\}", lambda m: places[m[1]], text)

    config = yaml.safe_load((ROOT / "gateway" / "litellm-config.yml").read_text("utf-8"))
    config["model_list"] = [r for r in config["model_list"] if "llama-cpp" in str(r)]
    config["router_settings"]["fallbacks"] = []
    text = yaml.safe_dump(config).replace("llama-cpp.ai-lab.svc.cluster.local", addresses["llama-cpp"])
    (folder / "litellm-config.yml").write_text(text)
    args = [str(folder / "litellm-config.yml") if a.startswith("/etc/litellm/") else a for a in CONTAINER["args"]]
    env = environment(secrets, addresses) | {k: fill(v) for k, v in NATIVE["env"].items()}
    path = os.pathsep.join([*map(fill, NATIVE["path"]), "/usr/bin", "/bin"])
    env |= {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    server = ThreadingHTTPServer((addresses["llama-cpp"], 8080), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    spans = folder / "spans"
    collector = [fill("{litellm}/bin/python"), "-I", str(HERE / "span_collector.py"), f"{addresses['phoenix']}:4317"]
    command = [*map(fill, NATIVE["command"]), *args, *map(fill, NATIVE["args"])]
    with spans.open("wb") as output:
        collecting = subprocess.Popen(collector, stdout=output)
    made = Gateway(addresses["litellm"], env, command, folder, postgres.url("litellm", "litellm"), spans)
    try:
        made.start()
        made.ready()
        keys(made)
        yield made
    finally:
        if made.process is not None:
            made.process.kill()
            made.process.wait(10)
        collecting.terminate()
        collecting.wait(10)
        server.shutdown()
        server.server_close()


def keys(gateway: Gateway) -> str:
    """The manifest's own hook."""
    hook = CONTAINER["lifecycle"]["postStart"]["exec"]["command"]
    command = [sys.executable, *(a.replace("/etc/litellm", str(ROOT / "gateway")) for a in hook[1:])]
    done = subprocess.run(command, env=gateway.env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def eventually(check: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true result of a check."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, f"still {result!r} after {seconds:.0f} s"
        time.sleep(0.2)
    return result


def test_a_chat_is_answered_booked_traced_and_counted(gateway: Gateway) -> None:
    key = gateway.env["OPEN_WEBUI_GATEWAY_KEY"]
    answer = gateway.chat(key, **{"X-OpenWebUI-User-Id": "u-1", "X-OpenWebUI-User-Email": "anna@ailab.localhost"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "Paris."
    query = 'SELECT "user", end_user, spend, total_tokens FROM "LiteLLM_SpendLogs" WHERE request_id = %s'
    ((user, end_user, spend, tokens),) = eventually(lambda: gateway.rows(query, answer.json()["id"]))
    assert (user, end_user, tokens) == ("u-1", "anna@ailab.localhost", 15)
    assert spend == pytest.approx(10 * 1e-7 + 5 * 1e-6)

    def span() -> Any:
        found = [json.loads(line) for line in gateway.spans.read_text().splitlines()]
        return [s for s in found if QUESTION in str(s["attributes"]) and "Paris." in str(s["attributes"])]

    traced = eventually(span)[0]
    assert traced["key"] == f"Bearer {gateway.env['PHOENIX_API_KEY']}"
    assert traced["resource"]["openinference.project.name"] == "litellm"
    counted = gateway.ask("GET", "/metrics/", gateway.env["PROMETHEUS_GATEWAY_KEY"]).text
    assert re.search(r"^litellm_proxy_total_requests_metric_total\{.*local/smollm2.*\} [1-9]", counted, re.MULTILINE)


def test_a_services_key_does_what_its_service_needs_and_no_more(gateway: Gateway) -> None:
    webui, prometheus = gateway.env["OPEN_WEBUI_GATEWAY_KEY"], gateway.env["PROMETHEUS_GATEWAY_KEY"]
    models = gateway.ask("GET", "/v1/models", webui).json()["data"]
    assert [m["id"] for m in models] == ["local/smollm2", "local/minilm"]
    refused = [
        gateway.ask("POST", "/key/generate", webui, {}),
        gateway.ask("GET", "/key/list", webui),
        gateway.ask("GET", "/metrics/", webui),
        gateway.ask("GET", "/v1/models", prometheus),
        gateway.chat(prometheus),
        gateway.chat("sk-nobody"),
        gateway.ask("GET", "/metrics/", "sk-nobody"),
    ]
    assert {answer.status_code for answer in refused} <= {401, 403}


def test_a_changed_key_takes_the_old_ones_place(gateway: Gateway) -> None:
    old = gateway.env["OPEN_WEBUI_GATEWAY_KEY"]
    gateway.env["OPEN_WEBUI_GATEWAY_KEY"] = f"sk-{uuid.uuid4().hex}"
    assert keys(gateway) == "service keys: open-webui replaced, prometheus unchanged\n"
    assert gateway.chat(gateway.env["OPEN_WEBUI_GATEWAY_KEY"]).status_code == 200
    assert gateway.chat(old).status_code == 401
    assert keys(gateway) == "service keys: open-webui unchanged, prometheus unchanged\n"


def test_a_budget_ends_for_a_local_model_too(gateway: Gateway) -> None:
    master = gateway.env["LITELLM_MASTER_KEY"]
    key = gateway.ask("POST", "/key/generate", master, {"max_budget": 1e-6}).json()["key"]
    assert gateway.chat(key).status_code == 200
    answer = eventually(lambda: next((a for a in [gateway.chat(key)] if a.status_code != 200), None))
    assert answer.status_code in (400, 422, 429)
    assert "budget" in answer.text.lower()


def test_nothing_listens_but_on_loopback(gateway: Gateway) -> None:
    assert gateway.process is not None
    mine = set()
    for pid in (gateway.process.pid, gateway.engine()):
        links = (os.readlink(f) for f in Path(f"/proc/{pid}/fd").iterdir() if f.exists() or f.is_symlink())
        mine |= {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for t in ("tcp", "tcp6") for line in Path(f"/proc/net/{t}").read_text().splitlines()[1:]]
    listening = {row[1] for row in rows if row[3] == "0A" and row[9] in mine}
    assert len(listening) == 2
    assert all(re.fullmatch(r"[0-9A-F]{6}7F:[0-9A-F]{4}", address) for address in listening), listening


def test_a_killed_engine_comes_back_and_no_row_is_lost(gateway: Gateway) -> None:
    key = gateway.env["OPEN_WEBUI_GATEWAY_KEY"]
    query = 'SELECT count(*) FROM "LiteLLM_SpendLogs" WHERE request_id = ANY(%s)'
    asked: list[httpx.Response] = []
    in_flight = threading.Thread(target=lambda: asked.append(gateway.chat(key, "a slow question")))
    in_flight.start()
    time.sleep(0.5)
    killed = gateway.engine()
    os.kill(killed, signal.SIGKILL)
    asked += [gateway.chat(key) for _ in range(3)]
    in_flight.join(30)
    assert [a.status_code for a in asked] == [200] * 4
    assert eventually(lambda: gateway.rows(query, [a.json()["id"] for a in asked])[0][0] == 4, 40)
    assert gateway.engine() != killed


def test_ready_means_with_the_database(gateway: Gateway, postgres: Any) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("ALTER DATABASE litellm ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'litellm'")
        try:
            assert eventually(lambda: gateway.readiness() == (503, "disconnected"))
        finally:
            connection.execute("ALTER DATABASE litellm ALLOW_CONNECTIONS true")
    assert eventually(lambda: gateway.readiness() == (200, "connected"), 40)
    assert eventually(lambda: gateway.chat(gateway.env["OPEN_WEBUI_GATEWAY_KEY"]).status_code == 200)


def test_a_stop_ends_what_was_begun_and_a_start_finds_it(gateway: Gateway) -> None:
    key = gateway.env["OPEN_WEBUI_GATEWAY_KEY"]
    asked: list[httpx.Response] = []
    in_flight = threading.Thread(target=lambda: asked.append(gateway.chat(key, "a slow question")))
    in_flight.start()
    time.sleep(0.7)
    engine = gateway.engine()
    gateway.stop()
    in_flight.join(30)
    assert asked[0].status_code == 200
    found = gateway.rows('SELECT total_tokens FROM "LiteLLM_SpendLogs" WHERE request_id = %s', asked[0].json()["id"])
    assert found == [(15,)]
    assert not Path(f"/proc/{engine}").exists()
    gateway.start()
    gateway.ready()
    assert "applying" not in gateway.logs[-1].read_text()
    assert keys(gateway) == "service keys: open-webui unchanged, prometheus unchanged\n"
    assert gateway.chat(key).status_code == 200


def test_a_killed_gateway_leaves_no_engine_behind(gateway: Gateway) -> None:
    assert gateway.process is not None
    engine = gateway.engine()
    gateway.process.kill()
    gateway.process.wait(10)
    assert eventually(lambda: not Path(f"/proc/{engine}").exists(), 5)


def test_a_wrong_password_is_named_and_not_shown(gateway: Gateway) -> None:
    process = gateway.start(DATABASE_URL=gateway.env["DATABASE_URL"].replace(gateway.env["LITELLM_DB_PASSWORD"], "wrongpassword"))
    assert eventually(lambda: "password authentication failed" in gateway.logs[-1].read_text(), 60)
    process.kill()
    process.wait(10)
    assert "wrongpassword" not in gateway.logs[-1].read_text()
