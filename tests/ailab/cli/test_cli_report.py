"""How commands speak: tables, when waiting is over, and the reference of all commands."""

from __future__ import annotations

from typing import Any

import pytest

from ailab.cli import reference, report
from ailab.cli.output import table
from tests.conftest import ROOT


def _pod(name: str = "web", **changes: Any) -> dict[str, Any]:
    pod = {
        "name": name, "ready": False, "unavailable": False, "status": "Running", "reason": "", "restarts": 0, "urls": [], "address": "127.0.0.9",
        "ports": [80], "containers_ready": "0/1", "ready_in": None,
    }  # fmt: skip
    return pod | changes


def test_the_reference_is_what_the_commands_say() -> None:
    assert (ROOT / reference.FILE).read_text("utf-8") == reference.text(), "run: python -m ailab.cli.reference"


def test_columns() -> None:
    assert table([["NAME", "N"], ["a", "1"], ["bcdef", "10"]], right=(1,)) == "NAME    N\na       1\nbcdef  10"


def test_rows() -> None:
    status = {
        "pods": [
            _pod(ready=True, containers_ready="1/1", ready_in=1.26, memory_mb=99.6, urls=["http://web.lab.localhost:8800"]),
            _pod("db", ports=[1, 2], restarts=3, status="CrashLoopBackOff"),
        ],
        "missing": {"grafana": "no provider"},
    }
    assert report.rows(status).splitlines() == [
        "SERVICE  READY  STATUS            RESTARTS  ADDRESS                        READY IN  MEMORY",
        "web      1/1    Running                  0  http://web.lab.localhost:8800     1.3 s  100 MB",
        "db       0/1    CrashLoopBackOff         3  127.0.0.9:1 127.0.0.9:2               -       -",
        "grafana  -      Unavailable              -  -                                     -       -",
    ]


@pytest.mark.parametrize(
    ("pods", "settled", "failed"),
    [
        ([], False, False),
        ([_pod(ready=True)], True, False),
        ([_pod()], False, True),
        ([_pod(unavailable=True)], True, False),
        ([_pod(status="ImagePullBackOff")], True, True),
        ([_pod(status="CrashLoopBackOff", restarts=1)], False, True),
        ([_pod(status="CrashLoopBackOff", restarts=4)], True, True),
        ([_pod(status="Waiting", reason="for db"), _pod("db")], False, True),
        ([_pod(status="Waiting", reason="for db"), _pod("db", ready=True)], False, True),
        ([_pod(status="Waiting", reason="for db"), _pod("db", status="ImagePullBackOff")], True, True),
        ([_pod(ready=True), _pod("db")], False, True),
    ],
)
def test_when_waiting_is_over(pods: list[dict[str, Any]], settled: bool, failed: bool) -> None:
    assert report.settled({"pods": pods}) == settled
    assert report.failed({"pods": pods}) == failed


def test_only_those_that_were_asked_for_count() -> None:
    pods = {"pods": [_pod(ready=True), _pod("db")]}
    assert report.settled(pods, ["web"])
    assert not report.failed(pods, ["web"])
    assert not report.settled(pods, ["db"])
    assert report.failed(pods, ["db"])


def test_troubles_say_what_to_do() -> None:
    status = {
        "pods": [
            _pod(ready=True),
            _pod("db", status="Error", reason="exit code 1", log=["last words"]),
            _pod("ui", unavailable=True, reason="no disk", way_out="buy one"),
        ],
        "missing": {"grafana": "no provider"},
    }
    assert report.troubles(status) == [
        "db: Error",
        "  why: exit code 1",
        "    last words",
        "  what to do: ./lab logs db shows all of it; ./lab restart db tries again",
        "ui: Running",
        "  why: no disk",
        "  what to do: buy one",
        "grafana: no provider",
    ]
