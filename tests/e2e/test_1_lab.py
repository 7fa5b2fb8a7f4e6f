"""The main job: `./lab up` on a fresh clone, a chat, every promise checked, differences applied, and everything gone after `down`."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.e2e.conftest import CORE, PORT, Clone, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


def test_every_service_that_registries_give_is_ready(lab: Clone) -> None:
    pods = lab.pods()
    assert {n for n, p in pods.items() if p["ready"]} >= CORE
    for name, pod in pods.items():
        assert pod["ready"] or pod["unavailable"], f"{name}: {pod['reason']}"
        assert pod["restarts"] == 0, f"{name} restarted"


def test_the_local_model_knows_the_capital_of_france(lab: Clone) -> None:
    assert "Paris" in lab.lab("chat", "What is the capital of France?").stdout


def test_every_promise_holds(lab: Clone) -> None:
    report = json.loads(lab.lab("check", "--json").stdout)
    names = {c["name"] for c in report["checks"]}
    assert {"chat", "embedding", "span", "counted", "spend-row", "open-webui-chat", "roles-apart", "loopback-only"} <= names
    assert [c for c in report["checks"] if c["state"] != "ok"] == []


def test_up_with_nothing_to_do_changes_nothing(lab: Clone) -> None:
    before = {n: [c["pid"] for c in p["containers"]] for n, p in lab.pods().items()}
    lab.lab("up")
    assert {n: [c["pid"] for c in p["containers"]] for n, p in lab.pods().items()} == before


def test_the_secrets_are_private_and_in_no_log_or_argument(lab: Clone) -> None:
    env = lab.folder / ".env"
    assert env.stat().st_mode & 0o777 == 0o600
    secrets = [v for k, v in lab.secrets().items() if len(v) >= 16 and not k.endswith("EMAIL")]
    assert len(secrets) > 10
    for path in (lab.folder / ".lab").rglob("*"):
        # Volumes that are the services' own databases hold what they are given; everything else may not.
        if path.is_file() and "data" not in path.relative_to(lab.folder / ".lab").parts[:1] and "venv" not in path.parts:
            text = path.read_bytes()
            assert not any(s.encode() in text for s in secrets), f"{path} holds a secret"
    for pod in lab.pods().values():
        for container in pod["containers"]:
            if container["pid"]:
                with open(f"/proc/{container['pid']}/cmdline", "rb") as file:
                    line = file.read()
                assert not any(s.encode() in line for s in secrets), f"{pod['name']} has a secret in its arguments"


def test_render_prints_no_secret(lab: Clone) -> None:
    text = lab.lab("render").stdout
    assert "kind: Deployment" in text
    assert not any(v in text for k, v in lab.secrets().items() if len(v) >= 16 and not k.endswith("EMAIL"))


def test_an_unknown_host_gets_nothing_from_the_edge(lab: Clone) -> None:
    assert httpx.get(f"http://127.0.0.1:{PORT}/", headers={"Host": "evil.example"}).status_code == 421


def test_a_changed_gateway_configuration_restarts_the_gateway_alone(lab: Clone) -> None:
    before = {n: [c["pid"] for c in p["containers"]] for n, p in lab.pods().items()}
    config = lab.folder / "gateway" / "litellm-config.yml"
    original = config.read_text("utf-8")
    config.write_text(original.replace("model_list:", "model_list:\n  - model_name: local/second-name\n    litellm_params: {model: openai/smollm2, "
                                       "api_base: 'http://llama-cpp.ai-lab.svc.cluster.local:8080/v1', api_key: none}", 1))
    try:
        lab.lab("up")
        after = {n: [c["pid"] for c in p["containers"]] for n, p in lab.pods().items()}
        assert {n for n in before if before[n] != after[n]} == {"litellm"}
        assert "Paris" in lab.lab("chat", "-m", "local/second-name", "What is the capital of France?").stdout
    finally:
        config.write_text(original)
        lab.lab("up")


def test_logs_show_what_a_service_wrote(lab: Clone) -> None:
    assert "ready to accept connections" in lab.lab("logs", "postgresql", "-n", "2000").stdout
    assert lab.lab("logs", "postgres", code=2).stderr.strip().endswith("(did you mean postgresql?)")


def test_restart_replaces_a_service(lab: Clone) -> None:
    before = lab.pods()["llama-cpp"]["containers"][0]["pid"]
    lab.lab("restart", "llama-cpp")
    after = lab.pods()["llama-cpp"]["containers"][0]["pid"]
    assert before != after
    until("the lab is ready", 60, lab.ready)
