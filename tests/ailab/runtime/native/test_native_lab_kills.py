"""kill -9 of everything in turn: the lab is ready again by itself or by the next `up`, and nobody is left behind."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_lab import SmallLab, alive, kill, until

from ailab.runtime.native import process
from ailab.runtime.native.control import Connection, Refused

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    """A lab whose alpha leaves a daemon behind that has shed everything."""
    made = SmallLab(tmp_path_factory.mktemp("killed") / "a lab")
    made.service("alpha", native={"env": {"STRAY": str(made.root / "stray"), "TRACE": str(made.root / "trace"), "NAME": "alpha"}})
    made.service("beta", requires="alpha", native={"env": {"TRACE": str(made.root / "trace"), "NAME": "beta"}})
    yield made
    made.end()


@pytest.fixture
def up(shared: SmallLab) -> SmallLab:
    """That lab, ready."""
    if not shared.ready():
        shared.lab("up")
    pid = daemon(shared)
    until("the daemon has cleared its environment", lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert shared.members() == {*shared.pids().values(), pid}
    return shared


def daemon(lab: SmallLab) -> int:
    """The process id of what alpha left behind."""
    return int((lab.root / "stray").read_text())


def test_a_killed_program(up: SmallLab) -> None:
    before, left = up.pids(), daemon(up)
    kill(before["alpha"])
    pods = until("alpha is ready again", lambda: (p := up.ready()) and p["alpha"]["restarts"] and p)
    after = up.pids()
    assert after["beta"] == before["beta"]
    assert after["alpha"] != before["alpha"]
    assert pods["alpha"]["containers"][0]["last_exit"] == -9
    assert not alive(left), "what it left behind went with it"
    assert up.members() == {*after.values(), daemon(up)}


def test_a_killed_supervisor(up: SmallLab) -> None:
    old, supervisor, guard = up.members(), up.status()["pid"], up.guard()
    kill(supervisor)
    until("another one has all ready", lambda: up.ready() and up.status()["pid"] != supervisor)
    assert up.guard() == guard
    assert not any(map(alive, old))
    assert up.members() == {*up.pids().values(), daemon(up)}
    assert up.status()["inputs"], "it goes on with the remembered plan"
    pids = up.pids()
    up.lab("up")
    assert up.pids() == pids


def test_a_killed_guard(up: SmallLab) -> None:
    """Its supervisor stops the lab in good order."""
    kill(up.guard())
    until("nothing is left", lambda: not up.members() and not up.status()["pid"])
    assert (up.root / "trace").read_text().split()[-4:] == ["stop", "beta", "stop", "alpha"]
    up.lab("up")
    assert up.ready()


@pytest.mark.parametrize("command", ["up", "down"])
def test_guard_and_supervisor_killed_at_once(up: SmallLab, command: str) -> None:
    old, supervisor, guard, left = up.members(), up.status()["pid"], up.guard(), daemon(up)
    os.kill(guard, signal.SIGSTOP)
    kill(supervisor)
    kill(guard)
    until("both are gone", lambda: not alive(supervisor) and not alive(guard))
    assert alive(left), "nobody is there to end it"
    output = up.lab(command)
    assert not any(map(alive, old))
    if command == "up":
        assert up.ready()
        assert up.members() == {*up.pids().values(), daemon(up)}
    else:
        assert "the lab was not up; ended 1 processes that were left of it" in output
        assert up.gone()


def test_a_killed_command(lab: SmallLab, tmp_path: Path) -> None:
    """In the middle of `up`: the lab goes on, and the next `up` is fine."""
    lab.service("alpha", native={"env": {"WAIT_FOR": str(tmp_path / "go")}})
    lab.service("beta", requires="alpha")
    with lab.start("up") as up:
        until("alpha runs", lambda: lab.pids().get("alpha"))
        up.kill()
    before = lab.pids()
    (tmp_path / "go").touch()
    until("it got ready by itself", lab.ready)
    assert lab.pids()["alpha"] == before["alpha"]
    pids = lab.pids()
    lab.lab("up")
    assert lab.pids() == pids


@pytest.mark.parametrize("moment", ["run/up.lock", "run/lock", "run/control.sock", "run/plan.json"])
def test_a_command_killed_at_any_moment(lab: SmallLab, moment: str) -> None:
    lab.service("alpha")
    with lab.start("up") as up:
        until(f"{moment} is there", (lab.state / moment).exists)
        up.kill()
    lab.lab("up")
    assert lab.ready()
    assert len(lab.members()) == 1


def test_a_supervisor_that_is_told_to_end_during_a_change(lab: SmallLab) -> None:
    lab.service("alpha", native={"env": {"STUBBORN": "1"}}, terminationGracePeriodSeconds=1)
    lab.lab("up")
    supervisor, guard = lab.status()["pid"], lab.guard()
    lab.service("alpha", native={"env": {"SAY": "the new one"}})
    with lab.start("up") as up:
        until("the old one is being ended", lambda: not lab.pods()["alpha"]["ready"])
        os.kill(supervisor, signal.SIGTERM)
        assert lab.status()["stopping"]
        assert up.wait(20) == 1
    until("both are gone", lambda: not alive(supervisor) and not alive(guard))
    assert "the new one" not in lab.log("alpha"), "nobody is started any more"
    until("nothing is left", lab.gone)
    lab.lab("up")
    assert "the new one" in lab.log("alpha")


def test_up_while_the_lab_is_being_stopped(lab: SmallLab) -> None:
    lab.service("alpha", native={"env": {"STUBBORN": "1"}}, terminationGracePeriodSeconds=1)
    lab.lab("up")
    before = lab.status()["pid"]
    with lab.start("down") as down:
        until("it stops", lambda: lab.status().get("stopping", True))
        with Connection(lab.state) as connection, pytest.raises(Refused, match="the lab is being stopped"):
            connection.ask("restart", pods=["alpha"])
        lab.lab("up")
        assert down.wait(20) == 0
    assert lab.ready()
    assert lab.status()["pid"] != before


def test_a_guard_that_is_told_to_end(up: SmallLab) -> None:
    os.kill(up.guard(), signal.SIGTERM)
    until("nothing is left", up.gone)
    assert (up.root / "trace").read_text().split()[-4:] == ["stop", "beta", "stop", "alpha"]


def test_down_between_two_supervisors(up: SmallLab) -> None:
    """The guard would start another one in a moment."""
    guard = up.guard()
    kill(up.status()["pid"])
    up.lab("down")
    until("nothing is left", up.gone)
    assert not alive(guard)


def test_a_plan_that_cannot_be_gone_on_with(lab: SmallLab) -> None:
    lab.service("alpha")
    lab.lab("up")
    env = lab.root / ".env"
    whole, supervisor = env.read_text(), lab.status()["pid"]
    env.unlink()
    kill(supervisor)
    until("another supervisor answers", lambda: lab.status()["pid"] not in (0, supervisor))
    log = lab.state / "logs" / "supervisor.log"
    until("it says why", lambda: "the remembered plan cannot be gone on with" in log.read_text())
    env.write_text(whole)
    env.chmod(0o600)
    lab.lab("up")
    assert lab.ready()


def test_the_marks_of_two_labs_are_apart(lab: SmallLab, tmp_path: Path) -> None:
    other = SmallLab(tmp_path / "another lab")
    try:
        for each in (lab, other):
            each.service("alpha")
        with lab.start("up") as one, other.start("up") as two:
            assert [one.wait(20), two.wait(20)] == [0, 0]
        pid = other.pids()["alpha"]
        assert lab.members().isdisjoint(other.members())
        lab.lab("down")
        assert alive(pid)
        assert process.lab_of(lab.state) != process.lab_of(other.state)
    finally:
        other.end()


@pytest.mark.e2e
def test_a_removed_folder_ends_the_lab(tmp_path: Path) -> None:
    lab = SmallLab(tmp_path / "a lab")
    lab.service("alpha")
    lab.lab("up")
    running = {*lab.pids().values(), lab.status()["pid"], lab.guard()}
    shutil.rmtree(lab.root / ".lab")
    until("nothing of it runs any more", lambda: not any(map(alive, running)))
