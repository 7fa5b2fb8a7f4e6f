"""A tiny real lab: a definition of its own whose containers are small Python programs, brought up by the real command line."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ailab.runtime.native import client, process
from ailab.runtime.native.control import Connection, Down
from tests.conftest import ROOT

PROGRAM = Path(__file__).with_name("program.py")
_numbers = itertools.count()
_LABELS = {"app.kubernetes.io/part-of": "ailab"}


def until(what: str, condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for a condition; fails with `what` after that time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    found = process.stat_of(pid)
    return found is not None and found[2] != "Z"


def http_probe(path: str, **numbers: int) -> dict[str, Any]:
    """A probe of the program."""
    return {"httpGet": {"path": path, "port": "http"}, **numbers}


class SmallLab:
    """A lab in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.state = folder / ".lab"
        self.network = f"127.{140 + next(_numbers) % 80}.0.0/16"
        self.env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE" and not k.startswith("AILAB")}
        self.env |= {"PYTHONPATH": str(ROOT), "AILAB_ROOT": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONWARNINGS": "default"}
        (folder / "gateway").mkdir(parents=True)
        (folder / "gateway" / "litellm-config.yml").write_text("model_list: []\n")
        (folder / ".env.example").write_text("A_SECRET={random:32}\nOTHER_SECRET=x{random:32}\n")
        self.settings()

    def settings(self, **native: Any) -> None:
        """Write lab.toml."""
        lines = {"network": self.network, "port": 18800, "ready_timeout_s": 30, **native}
        text = "\n".join(f"{k} = {json.dumps(v)}" for k, v in lines.items())
        (self.root / "lab.toml").write_text(f'[lab]\ntailnet = "t1"\n[native]\n{text}\n')

    def service(self, name: str, *, native: dict[str, Any] | None = None, container: dict[str, Any] | None = None, **pod: Any) -> None:
        """Write a service whose container is the program.

        Args:
            native: over [container.<name>] of native.toml; `env` is added to what the program needs.
            container: over the manifest's container.
            pod: over the pod's spec; `requires`, `config` (a ConfigMap's data, mounted at /etc/it) and `init` are what they say.
        """
        folder = self.root / "k8s" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(PROGRAM, folder)
        requires, config, init = pod.pop("requires", ""), pod.pop("config", None), pod.pop("init", [])
        main: dict[str, Any] = {
            "name": name,
            "image": f"{name}:1",
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": http_probe("/ready", periodSeconds=1),
            **(container or {}),
        }
        spec: dict[str, Any] = {"containers": [main], "terminationGracePeriodSeconds": 5, **pod}
        if config is not None:
            main.setdefault("volumeMounts", []).append({"name": "config", "mountPath": "/etc/it"})
            spec.setdefault("volumes", []).append({"name": "config", "configMap": {"name": name}})
            self._write(name, "configmap", {"kind": "ConfigMap", "apiVersion": "v1", "data": config})
        if init:
            spec["initContainers"] = init
        annotations = {"ailab.dev/requires": requires} if requires else {}
        self._write(name, "deployment", {
            "kind": "Deployment", "apiVersion": "apps/v1",
            "spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec}},
        })  # fmt: skip
        self._write(name, "service", {"kind": "Service", "apiVersion": "v1", "spec": {"ports": [{"port": 8080}]}})
        sections = {c["name"]: {"command": _COMMAND} for c in [*init, *spec["containers"]]}
        given = dict(native or {})
        own = {"ADDRESS": "{address}", "PORT": "8080", **given.pop("env", {})}
        sections[name] |= {**given, "env": own}
        text = "".join(f"[container.{n}]\n" + "".join(f"{k} = {_toml(v)}\n" for k, v in s.items()) for n, s in sections.items())
        (folder / "native.toml").write_text(text)

    def _write(self, service: str, kind: str, obj: dict[str, Any]) -> None:
        data = {"metadata": {"name": service, "namespace": "ai-lab", "labels": _LABELS}, **obj}
        (self.root / "k8s" / service / f"{kind}.yml").write_text(json.dumps(data))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of the lab."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "ailab", *arguments],
            env=self.env, cwd="/", text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # Tests may run in the background of a script, where interrupts are ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def lab(self, *arguments: str, code: int = 0, seconds: float = 60) -> str:
        """Run a command of the lab; asserts its exit code and returns all that it printed."""
        with self.start(*arguments) as child:
            out, err = child.communicate(timeout=seconds)
        assert child.returncode == code, f"{arguments}: exit code {child.returncode}\n{out}\n{err}"
        return out + err

    def restart(self, *names: str) -> None:
        """Replace services by fresh ones, as the command line asks for it."""
        with Connection(self.state) as connection:
            connection.ask("restart", pods=list(names))
        until("they are ready again", self.ready)

    def status(self) -> dict[str, Any]:
        """What the supervisor reports; no pods where there is none."""
        with contextlib.suppress(Down), Connection(self.state) as connection:
            return connection.ask("status")
        return {"pods": [], "pid": 0}

    def pods(self) -> dict[str, dict[str, Any]]:
        """The status by service."""
        return {p["name"]: p for p in self.status()["pods"]}

    def pids(self) -> dict[str, int]:
        """The process of each service's last container."""
        return {name: p["containers"][-1]["pid"] if p["containers"] else 0 for name, p in self.pods().items()}

    def ready(self) -> dict[str, dict[str, Any]] | None:
        """The pods, when there are some and all are ready."""
        pods = self.pods()
        return pods if pods and all(p["ready"] for p in pods.values()) else None

    def folder(self, name: str) -> Path:
        """A container's working directory, for services with one container."""
        return self.state / "pods" / name / name

    def log(self, name: str, container: str = "") -> str:
        """All of a container's log."""
        path = self.state / "logs" / name / f"{container or name}.log"
        return path.read_text() if path.exists() else ""

    def members(self) -> set[int]:
        """Every process that carries this lab's mark."""
        return process.tree([], process.Mark.of(process.lab_of(self.state))) if self.state.exists() else set()

    def guard(self) -> int:
        """The guard's process id."""
        found = process.stat_of(self.status()["pid"])
        assert found
        return found[0]

    def gone(self) -> bool:
        """Whether nothing of the lab is left but its folder."""
        if not self.state.exists():
            return True
        lab = process.lab_of(self.state)
        guards = [p for p in process.pids() if str(self.state).encode() in process._read(p, "cmdline").split(b"\0")]
        return not (guards or self.members() or os.path.exists(process.memory_folder(lab)))

    def end(self) -> None:
        """Take it down without waiting for anybody, whatever state it is in."""
        if not self.state.exists():
            return
        if supervisor := self.status()["pid"]:
            kill(supervisor)
        client.clear(self.root)
        until("nothing is left of the lab", self.gone)
        # Whatever a supervisor warns of, or forgot to catch, stands there.
        assert (self.state / "logs" / "guard.log").read_text() == ""


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)


_COMMAND = ["{python}", "-I", "-S", "{service}/program.py"]


def _toml(value: Any) -> str:
    """Strings, numbers and lists are JSON in TOML too; tables are not."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)
