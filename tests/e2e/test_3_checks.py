"""Each check of `ailab check` fails when its subject is broken on purpose, and is fine again when that is mended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
import yaml

from ailab.checks import Lab, checks_for, run
from ailab.cli.check import native_lab
from ailab.definition.load import load
from tests.conftest import missing
from tests.e2e.conftest import Clone, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

# Which checks each stopped service must make fail.
STOPPED = {
    "llama-cpp": ["port-llama-cpp", "chat", "embedding", "open-webui-chat"],
    "phoenix": ["port-phoenix", "edge-phoenix", "span"],
    "prometheus": ["port-prometheus", "counted"],
    "open-webui": ["port-open-webui", "edge-open-webui", "open-webui-chat"],
    "postgresql": ["port-postgresql", "roles-apart"],
    "neo4j": ["port-neo4j"],
    "ingress": ["edge-litellm", "edge-open-webui", "edge-phoenix"],
    "litellm": ["port-litellm", "edge-litellm", "gateway-models"],
}


def failing(clone: Clone, *names: str) -> dict[str, str]:
    """The failing checks among some, with their reasons."""
    only = [a for n in names for a in ("--only", n)]
    report = json.loads(clone.lab("check", "--json", *only, code=None).stdout)
    return {c["name"]: c["detail"] for c in report["checks"] if c["state"] == "failed"}


@pytest.mark.parametrize("service", STOPPED)
def test_a_stopped_service_fails_its_checks(lab: Clone, service: str) -> None:
    lab.lab("down", service)
    try:
        # The edge's checks come after the port's; alone they must fail too.
        found = {n: d for name in STOPPED[service] for n, d in failing(lab, name).items()}
    finally:
        lab.lab("up")
        until("the lab is ready", 120, lab.ready)
    expected = {n for n in STOPPED[service] if not (n.startswith("edge-") and n.replace("edge", "port") in STOPPED[service])}
    assert expected <= found.keys()
    assert all(reason.endswith(")") for reason in found.values()), "every reason names a way out"


@contextlib.contextmanager
def superuser(clone: Clone) -> Iterator[psycopg.Connection]:
    lab = native_lab(load(clone.folder).natively(), clone.folder)
    password = lab.secret("POSTGRES_PASSWORD")
    with psycopg.connect(host=lab.addresses["postgresql"], user="postgres", password=password, dbname="litellm", autocommit=True) as db:
        yield db


def test_a_missing_spend_table_fails_the_spend_row(lab: Clone) -> None:
    with superuser(lab) as db:
        db.execute('ALTER TABLE "LiteLLM_SpendLogs" RENAME TO "Hidden"')
        try:
            assert "spend-row" in failing(lab, "spend-row")
        finally:
            db.execute('ALTER TABLE "Hidden" RENAME TO "LiteLLM_SpendLogs"')


def test_a_role_that_may_open_another_database_fails(lab: Clone) -> None:
    with superuser(lab) as db:
        db.execute("GRANT CONNECT ON DATABASE phoenix TO litellm")
        try:
            assert failing(lab, "roles-apart")["roles-apart"].startswith("role litellm can open the database of phoenix")
        finally:
            db.execute("REVOKE CONNECT ON DATABASE phoenix FROM litellm")
    assert failing(lab, "roles-apart") == {}


def test_a_route_that_the_gateway_does_not_have_fails(lab: Clone) -> None:
    config = lab.folder / "gateway" / "litellm-config.yml"
    original = config.read_text("utf-8")
    config.write_text(original.replace("model_name: local/smollm2", "model_name: local/other", 1))
    try:
        assert failing(lab, "gateway-models")["gateway-models"].startswith("the gateway does not list local/other")
    finally:
        config.write_text(original)


def test_a_gateway_that_sends_no_traces_and_counts_nothing_fails(lab: Clone) -> None:
    """Phoenix and Prometheus run; what they should be sent does not come."""
    config = lab.folder / "gateway" / "litellm-config.yml"
    original = config.read_text("utf-8")
    settings = yaml.safe_load(original)
    assert set(settings["litellm_settings"].pop("callbacks")) == {"arize_phoenix", "prometheus"}
    config.write_text(yaml.safe_dump(settings))
    try:
        lab.lab("up")
        found = failing(lab, "span", "counted")
    finally:
        config.write_text(original)
        lab.lab("up")
    assert found["span"].startswith("no span of the chat within 10 s")
    assert found["counted"].startswith("litellm_proxy_total_requests_metric_total has no sample of the chat")
    assert failing(lab, "span", "counted") == {}


def test_a_socket_outside_loopback_fails(lab: Clone) -> None:
    """In a network namespace of its own, so that nobody can reach it."""
    code = "import socket; s = socket.create_server(('0.0.0.0', 19999)); print('open', flush=True); input()"
    listener = subprocess.Popen(
        ["unshare", "--net", "--map-root-user", sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert listener.stdin
    assert listener.stdout
    with listener:
        if listener.stdout.readline() != b"open\n":
            missing("network namespaces (unshare --net) are not allowed here")
        real = native_lab(load(lab.folder).natively(), lab.folder)
        with_intruder = Lab(**{**vars(real), "leaders": [*real.leaders, listener.pid]})
        results = [r for r in run(with_intruder, [c for c in checks_for(with_intruder) if c.name == "loopback-only"])]
        listener.stdin.write(b"\n")
    assert [r.state for r in results] == ["failed"]
    assert "0.0.0.0:19999" in results[0].detail
