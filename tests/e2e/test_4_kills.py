"""kill -9 of each process in turn, of the supervisor, of its guard and of the command line: the lab comes back, whole."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from ailab.cli.check import native_lab
from ailab.definition.load import load
from ailab.runtime.native import process
from tests.e2e.conftest import CORE, Clone, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def spend_rows(clone: Clone) -> int:
    """How many chats PostgreSQL has recorded."""
    lab = native_lab(load(clone.folder).natively(), clone.folder)
    with psycopg.connect(host=lab.addresses["postgresql"], user="litellm", password=lab.secret("LITELLM_DB_PASSWORD"), dbname="litellm") as db:
        row = db.execute('SELECT count(*) FROM "LiteLLM_SpendLogs"').fetchone()
    assert row
    return int(row[0])


def members(clone: Clone) -> set[int]:
    """Every process that carries the lab's mark."""
    return process.tree([], process.Mark.of(process.lab_of(clone.folder / ".lab")))


def name_of(pid: int) -> str:
    """What a process calls itself, without what changes from one to the next of its kind."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ").split()
    return re.sub(r"[\d./()]+", "", " ".join(words[:3])) if words else ""


@pytest.mark.parametrize("service", sorted(CORE))
def test_a_killed_program_comes_back(lab: Clone, service: str) -> None:
    rows = spend_rows(lab)
    for container in lab.pods()[service]["containers"]:
        if container["pid"]:
            os.kill(container["pid"], signal.SIGKILL)
    until(f"{service} was restarted", 30, lambda: lab.pods()[service]["restarts"] > 0)
    until("the lab is ready", 180, lab.ready)
    assert "Paris" in lab.lab("chat", "What is the capital of France?").stdout
    assert spend_rows(lab) >= rows


def test_a_killed_child_of_a_program_is_made_up_for(lab: Clone) -> None:
    """Database processes, the gateway's query engine: whatever the services' programs start themselves."""
    rows = spend_rows(lab)
    leaders = {c["pid"] for p in lab.pods().values() for c in p["containers"] if c["pid"]}
    names = {pid: name_of(pid) for pid in process.tree(leaders) - leaders}
    chosen = {name: pid for pid, name in names.items()}  # one of each kind
    assert any("query-engine" in n or "node" in n for n in chosen), f"the gateway's query engine is not among {sorted(chosen)}"
    for pid in chosen.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until("the lab is ready", 180, lab.ready)
        until("a chat is answered", 60, lambda: "Paris" in lab.lab("chat", "What is the capital of France?", code=None).stdout)
    assert spend_rows(lab) >= rows


def test_a_killed_supervisor_is_replaced_and_leaves_no_orphan(lab: Clone) -> None:
    rows, before = spend_rows(lab), lab.status()
    old = members(lab)
    os.kill(before["pid"], signal.SIGKILL)

    def replaced() -> bool:
        status = lab.status()
        return bool(status["pods"]) and status.get("pid") != before["pid"] and lab.ready()

    until("a new supervisor has the lab ready", 240, replaced)
    assert not {p for p in old if (s := process.stat_of(p)) and s[2] != "Z"}, "programs of the killed supervisor still run"
    assert spend_rows(lab) >= rows


def test_guard_and_supervisor_killed_at_once_leave_nothing_that_the_next_up_does_not_mend(lab: Clone) -> None:
    rows, pid = spend_rows(lab), lab.status()["pid"]
    stat = process.stat_of(pid)
    assert stat
    os.kill(stat[0], signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    lab.lab("up")
    assert lab.ready()
    assert spend_rows(lab) >= rows


def test_up_killed_in_the_middle_does_not_stop_the_lab_from_coming(lab: Clone) -> None:
    lab.lab("down")
    started = subprocess.Popen(["./lab", "up"], cwd=lab.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert started.stdout
    with started:
        started.stdout.readline()  # the first progress: the supervisor has its plan
        started.kill()
    lab.lab("up")
    assert lab.ready()


def test_down_leaves_no_process_and_no_port(lab: Clone) -> None:
    rows = spend_rows(lab)
    lab.lab("down")
    end = time.monotonic() + 5
    while (left := members(lab)) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == set()
    lab.lab("up")
    assert spend_rows(lab) >= rows
