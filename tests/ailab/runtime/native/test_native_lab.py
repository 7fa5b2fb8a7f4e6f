"""`up` on a small real lab: differences only, requirements first, secrets nowhere."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_lab import SmallLab, alive, until

from ailab.checks.sockets import listeners
from ailab.definition.inputs import inputs_digest
from ailab.runtime.native import process
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def secret(service: str, name: str) -> dict[str, object]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": service, "key": name}}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    """A lab of three services that several tests change and bring up again."""
    made = SmallLab(tmp_path_factory.mktemp("shared") / "a lab")
    define(made)
    yield made
    made.end()


def define(lab: SmallLab, **environment: str) -> None:
    url = {"name": "URL", "value": "db://u:$(A_SECRET)@alpha.ai-lab.svc.cluster.local:8080"}
    say = {"name": "SAY", "value": "my secret is $(A_SECRET), or so"}
    lab.service("alpha", container={"env": [secret("alpha", "A_SECRET"), url, say]}, native={"env": environment})
    lab.service("beta", requires="alpha", container={"env": [secret("beta", "OTHER_SECRET")]})
    lab.service("gamma", config={"it.yml": "where: /etc/it\nwho: beta.ai-lab.svc.cluster.local\n"})


@pytest.fixture
def up(shared: SmallLab) -> dict[str, int]:
    """The shared lab is up as it was defined at first; its processes."""
    define(shared)
    shared.settings()
    if not (shared.ready() and shared.status()["inputs"] == inputs_digest(shared.root)):
        shared.lab("up")
    return shared.pids()


def changed(lab: SmallLab, before: dict[str, int]) -> set[str]:
    """The services whose process is another one after an `up`; all are ready."""
    lab.lab("up")
    assert lab.ready()
    after = lab.pids()
    return {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}


def test_up(shared: SmallLab, up: dict[str, int]) -> None:
    output = shared.lab("up")
    assert shared.pids() == up, "nothing to do: nobody is touched"
    for name, pod in shared.pods().items():
        assert re.search(rf"^{name} +1/1 +Running +0 +{pod['address']}:8080 +\d+\.\d s +\d+ MB$", output, re.MULTILINE)
        assert pod["address"].startswith(shared.network.removesuffix(".0.0/16"))
    assert stat.S_IMODE((shared.root / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((shared.state / "run" / "control.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(shared.state.stat().st_mode) == 0o700


def test_a_changed_file_restarts_its_pod_alone(shared: SmallLab, up: dict[str, int]) -> None:
    file = shared.state / "pods" / "gamma" / "config" / "config" / "it.yml"
    assert file.read_text() == f"where: {file.parent}\nwho: {shared.pods()['beta']['address']}\n"
    shared.service("gamma", config={"it.yml": "new"})
    assert changed(shared, up) == {"gamma"}
    assert file.read_text() == "new"


def test_a_changed_variable_restarts_its_pod_alone(shared: SmallLab, up: dict[str, int]) -> None:
    define(shared, SAY="alpha says more")
    assert changed(shared, up) == {"alpha"}, "who requires it goes on"
    assert "alpha says more" in shared.log("alpha")


def test_a_changed_secret_restarts_whoever_names_it(shared: SmallLab, up: dict[str, int]) -> None:
    env = shared.root / ".env"
    env.write_text(env.read_text().replace("OTHER_SECRET=x", "OTHER_SECRET=y"))
    assert changed(shared, up) == {"beta"}
    assert b"OTHER_SECRET=y" in Path(f"/proc/{shared.pids()['beta']}/environ").read_bytes()


def test_a_service_that_is_removed_or_off_stops(shared: SmallLab, up: dict[str, int]) -> None:
    shutil.rmtree(shared.root / "k8s" / "gamma")
    settings = shared.root / "lab.toml"
    settings.write_text(settings.read_text() + "[services]\nbeta = false\n")
    assert changed(shared, up) == {"beta", "gamma"}
    assert shared.pods().keys() == {"alpha"}
    assert not alive(up["beta"])
    assert not alive(up["gamma"])


def test_up_of_one_service_brings_what_it_requires(shared: SmallLab, up: dict[str, int]) -> None:
    shared.lab("down")
    until("the lab is gone", shared.gone)
    assert not any(map(alive, up.values()))
    shared.lab("up", "beta")
    first = shared.pids()
    assert first.keys() == {"alpha", "beta"}
    assert changed(shared, first) == {"gamma"}, "the whole lab is asked for now"
    shared.lab("up", "alpha")
    assert shared.pods().keys() == {"alpha", "beta", "gamma"}, "what runs beside it is left alone"


def test_restart(shared: SmallLab, up: dict[str, int]) -> None:
    shared.lab("restart", "alpha", "alpha")
    after = shared.pids()
    assert {n for n in up if up[n] != after[n]} == {"alpha"}
    [only] = [p for p in shared.members() if b"lab/alpha" in process._read(p, "environ").replace(shared.status()["lab"].encode(), b"lab")]
    assert only == after["alpha"], "named twice, restarted once"


def test_restarts_leak_nothing(shared: SmallLab, up: dict[str, int]) -> None:
    supervisor = shared.status()["pid"]

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{supervisor}/fd"))

    shared.restart("alpha", "beta", "gamma")
    before = descriptors()
    shared.restart("alpha", "beta", "gamma")
    # Connections of those who ask end a moment later.
    until("they are as many as before", lambda: descriptors() <= before)


def test_secrets_are_nowhere_but_in_env_and_environments(shared: SmallLab, up: dict[str, int]) -> None:
    values = dict(line.split("=", 1) for line in (shared.root / ".env").read_text().split())
    output = shared.lab("status", "--json") + shared.lab("logs", "alpha")
    assert "my secret is ***, or so" in output
    files = [p for p in shared.state.rglob("*") if p.is_file()]
    assert {"plan.json", "next-plan.json", "supervisor.log", "guard.log", "alpha.log"} <= {p.name for p in files}
    texts = {str(p): p.read_text() for p in files} | {"output": output}
    for pid in [*shared.members(), shared.status()["pid"], shared.guard()]:
        texts[f"argv of {pid}"] = Path(f"/proc/{pid}/cmdline").read_text()
    for value in values.values():
        assert not [place for place, text in texts.items() if value in text]
    environment = Path(f"/proc/{shared.pids()['alpha']}/environ").read_text()
    assert f"URL=db://u:{values['A_SECRET']}@127." in environment


def test_a_container_sees_what_is_its_own(shared: SmallLab, up: dict[str, int]) -> None:
    environment = dict(v.split("=", 1) for v in Path(f"/proc/{up['alpha']}/environ").read_text().rstrip("\0").split("\0"))
    names = {"PATH", "HOME", "TMPDIR", "LANG", "AILAB_LAB", "AILAB_CONTAINER", "A_SECRET", "URL", "ADDRESS", "PORT", "SAY"}
    assert environment.keys() == names
    folder = shared.state / "pods" / "alpha" / "alpha"
    assert environment["HOME"] == str(folder / "home")
    assert os.readlink(f"/proc/{up['alpha']}/cwd") == str(folder)
    handles = [os.readlink(f"/proc/{up['alpha']}/fd/{n}") for n in (0, 1, 2)]
    assert handles[0] == "/dev/null"
    assert handles[1].startswith("pipe:")
    assert len(os.listdir(f"/proc/{up['alpha']}/fd")) == 4, "these and its listening socket"


def test_nothing_listens_outside_loopback(shared: SmallLab, up: dict[str, int]) -> None:
    found = listeners([*shared.members(), shared.status()["pid"], shared.guard()])
    assert {place for place, _, _ in found} == {f"{p['address']}:8080" for p in shared.pods().values()}
    assert all(loopback for _, _, loopback in found)


def test_down_leaves_nothing(shared: SmallLab, up: dict[str, int]) -> None:
    state = shared.status()
    assert Path(process.memory_folder(state["lab"])).is_dir()
    assert "the lab is down" in shared.lab("down")
    assert not any(map(alive, up.values()))
    assert not alive(state["pid"])
    until("the guard is gone too", shared.gone)
    assert "the lab was not up" in shared.lab("down")
    assert "the lab is not up" in shared.lab("status", code=1)


def test_order(lab: SmallLab, tmp_path: Path) -> None:
    """Who is required is ready first, and ends last."""
    trace = {"TRACE": str(tmp_path / "trace")}
    for name, requires in {"alpha": "", "beta": "alpha", "gamma": "alpha, beta"}.items():
        lab.service(name, requires=requires, native={"env": {**trace, "NAME": name}})
    lab.lab("up")
    lab.lab("down")
    words = (tmp_path / "trace").read_text().split("\n")
    assert words == ["start alpha", "start beta", "start gamma", "stop gamma", "stop beta", "stop alpha", ""]


def test_waiting_for_a_pod_that_is_replaced_meanwhile(lab: SmallLab, tmp_path: Path) -> None:
    lab.service("alpha", native={"env": {"WAIT_FOR": str(tmp_path / "never")}})
    lab.service("beta", requires="alpha")
    with lab.start("up") as first:
        waiting = until("beta waits", lambda: (p := lab.pods().get("beta")) and p["status"] == "Waiting" and p)
        assert waiting["reason"] == "for alpha"
        assert waiting["containers"] == []
        os.kill(first.pid, signal.SIGINT)
        output, _ = first.communicate(timeout=20)
        assert first.returncode == 130
        assert "the lab goes on starting by itself" in output
    lab.service("alpha")
    lab.lab("up")
    assert lab.ready()


def test_a_second_up_at_the_same_time_follows_the_first(lab: SmallLab, tmp_path: Path) -> None:
    lab.service("alpha", native={"env": {"WAIT_FOR": str(tmp_path / "go")}})
    with lab.start("up") as first:
        until("alpha runs", lambda: lab.pids().get("alpha"))
        supervisor = lab.status()["pid"]
        with lab.start("up") as second:
            assert second.stdout
            line = second.stdout.readline()
            assert line == f"another `up` of this lab is at work (process {first.pid}): following it\n"
            (tmp_path / "go").touch()
            outputs = [p.communicate(timeout=20)[0] for p in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0)
    assert all(re.search("^alpha +1/1 +Running", o, re.MULTILINE) for o in outputs)
    assert lab.status()["pid"] == supervisor


def test_newer_code_replaces_the_supervisor(lab: SmallLab) -> None:
    shutil.copytree(ROOT / "ailab", lab.root / "ailab", ignore=shutil.ignore_patterns("__pycache__"))
    lab.env["PYTHONPATH"] = str(lab.root)
    lab.service("alpha")
    lab.lab("up")
    before, pids = lab.status(), lab.pids()
    file = lab.root / "ailab" / "runtime" / "native" / "backoff.py"
    file.write_text(file.read_text() + "# newer\n")
    lab.lab("up")
    after = lab.status()
    assert after["code"] != before["code"]
    assert after["pid"] != before["pid"]
    assert not alive(before["pid"])
    assert not alive(pids["alpha"])
    assert lab.ready()
    lab.lab("up")
    assert lab.status()["pid"] == after["pid"]


def test_volumes(lab: SmallLab) -> None:
    """A claim outlives the pod; an emptyDir doesn't, in memory or not."""
    claim = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "spec": {}}
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "alpha"}}, {"name": "scratch", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]  # fmt: skip
    mounts = [{"name": n, "mountPath": f"/{n}"} for n in ("data", "scratch", "memory")]
    env = [{"name": n.upper(), "value": f"/{n}"} for n in ("data", "scratch", "memory")]
    lab.service("alpha", container={"volumeMounts": mounts, "env": env}, volumes=volumes)
    lab._write("alpha", "pvc", claim)
    lab.lab("up")
    environment = dict(v.split("=", 1) for v in Path(f"/proc/{lab.pids()['alpha']}/environ").read_text().rstrip("\0").split("\0"))
    folders = {n: Path(environment[n]) for n in ("DATA", "SCRATCH", "MEMORY")}
    assert folders["DATA"] == lab.state / "data" / "alpha"
    assert folders["MEMORY"].is_relative_to("/dev/shm")
    for folder in folders.values():
        (folder / "kept").touch()
    os.kill(lab.pids()["alpha"], signal.SIGKILL)
    until("its container is back", lambda: (p := lab.ready()) and p["alpha"]["restarts"] == 1)
    assert all((f / "kept").exists() for f in folders.values()), "another container of the same pod"
    lab.restart("alpha")
    assert [n for n, f in folders.items() if (f / "kept").exists()] == ["DATA"]
    for folder in folders.values():
        (folder / "kept").touch()
    supervisor = lab.status()["pid"]
    os.kill(supervisor, signal.SIGKILL)
    until("another supervisor has it ready", lambda: lab.ready() and lab.status()["pid"] != supervisor)
    assert [n for n, f in folders.items() if (f / "kept").exists()] == ["DATA"], "another pod, though nobody could clean up after the first"