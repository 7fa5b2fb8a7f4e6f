"""What goes wrong in a small real lab, and what the command line says of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from small_lab import SmallLab, http_probe, until

from ailab.runtime.native.addresses import assign
from ailab.runtime.native.client import make_state
from ailab.runtime.native.control import Connection, Down
from ailab.runtime.native.providers import platform_name
from tests.conftest import missing

pytestmark = pytest.mark.slow


def pod(lab: SmallLab, name: str = "alpha") -> dict[str, Any]:
    return lab.pods().get(name, {"status": "", "restarts": 0, "ready": False, "reason": "", "containers": []})


def crashed(lab: SmallLab) -> dict[str, Any]:
    """The pod alpha, once it waits for its second restart."""
    return until("alpha is in backoff", lambda: (p := pod(lab))["status"].endswith("CrashLoopBackOff") and p)  # type: ignore[no-any-return]


def follow(lab: SmallLab) -> subprocess.Popen[str]:
    """An `up` that nobody waits for; ended with the test."""
    return lab.start("up")


def test_a_crash(lab: SmallLab) -> None:
    lab.service("alpha", native={"env": {"SAY": "I begin", "CRASH": "3"}})
    lab.service("beta")
    with follow(lab) as up:
        found = crashed(lab)
        assert (found["restarts"], found["reason"], found["containers"][0]["last_exit"]) == (2, "exit code 3", 3)
        end = ["I begin", "about to crash", "[ailab] ended (exit code 3); again in 0 s"]
        assert found["log"] == [*end, *end[:2], "[ailab] ended (exit code 3); again in 10 s"]
        until("the other service is ready", lambda: pod(lab, "beta")["ready"])
        up.kill()
    output = lab.lab("status", code=1)
    assert "alpha: CrashLoopBackOff\n  why: exit code 3\n    I begin\n    about to crash\n" in output
    assert "what to do: ./lab logs alpha" in output


def test_up_tries_again_what_waits_for_its_next_restart(lab: SmallLab, tmp_path: Path) -> None:
    lab.service("alpha", native={"env": {"CRASH": "3", "MENDED": str(tmp_path / "mended")}})
    with follow(lab) as up:
        crashed(lab)
        up.kill()
    (tmp_path / "mended").touch()
    began = time.monotonic()
    lab.lab("up")
    assert time.monotonic() - began < 8, "not after the backoff's ten seconds"


@pytest.mark.e2e
def test_the_second_restart_waits_ten_seconds(lab: SmallLab, tmp_path: Path) -> None:
    lab.service("alpha", native={"env": {"CRASH": "3", "MENDED": str(tmp_path / "mended")}})
    with follow(lab):
        crashed(lab)
        began = time.monotonic()
        (tmp_path / "mended").touch()
        until("it is ready", lab.ready)
        assert 9 < time.monotonic() - began < 14
    assert pod(lab)["restarts"] == 2


@pytest.mark.e2e
def test_what_never_gets_ready_is_reported_and_the_rest_stays_up(lab: SmallLab, tmp_path: Path) -> None:
    lab.settings(ready_timeout_s=10)
    lab.service(
        "alpha", container={"startupProbe": http_probe("/", periodSeconds=1, failureThreshold=3)},
        native={"env": {"SAY": "waiting for the moon", "WAIT_FOR": str(tmp_path / "moon")}},
    )  # fmt: skip
    lab.service("beta")
    lab.service("gamma", requires="alpha")
    output = lab.lab("up", code=1)
    assert re.search(r"^alpha: \w+\n  why: .*\n(    .*\n)*    waiting for the moon\n", output, re.MULTILINE)
    assert "    [ailab] startupProbe failed 3 times: " in output
    assert "\ngamma: Waiting\n  why: for alpha\n" in output
    assert re.search(r"^beta +1/1 +Running", output, re.MULTILINE)
    assert pod(lab, "beta")["ready"]


def test_init_containers(lab: SmallLab, tmp_path: Path) -> None:
    trace = [{"name": "TRACE", "value": str(tmp_path / "trace")}]
    one = {"name": "one", "image": "one:1", "env": [*trace, {"name": "NAME", "value": "one"}, {"name": "DONE", "value": "1"}]}
    crash = [{"name": "CRASH", "value": "4"}, {"name": "MENDED", "value": str(tmp_path / "mended")}]
    two = {"name": "two", "image": "two:1", "env": [*trace, {"name": "NAME", "value": "two"}, {"name": "DONE", "value": "1"}, *crash]}
    main = {"env": [*trace, {"name": "NAME", "value": "main"}]}
    lab.service("alpha", init=[one, two], container=main)
    with follow(lab) as up:
        found = crashed(lab)
        assert (found["status"], found["reason"]) == ("Init:CrashLoopBackOff", "two: exit code 4")
        assert found["log"] == ["about to crash", "about to crash"]
        assert [c["status"] for c in found["containers"]] == ["Completed", "Error", "Waiting"]
        up.kill()
    assert (tmp_path / "trace").read_text().split("\n") == ["start one", "start two", "start two", ""]
    (tmp_path / "mended").touch()
    lab.lab("up")
    assert (tmp_path / "trace").read_text().split("\n")[3:] == ["start one", "start two", "start main", ""]


def test_an_init_container_ends_when_told(lab: SmallLab, tmp_path: Path) -> None:
    env = {"WAIT_FOR": str(tmp_path / "never"), "TRACE": str(tmp_path / "trace"), "NAME": "one"}
    lab.service("alpha", init=[{"name": "one", "image": "one:1", "env": [{"name": k, "value": v} for k, v in env.items()]}])
    with follow(lab) as up:
        until("it runs", (tmp_path / "trace").exists)
        lab.lab("down")
        assert up.wait(20) == 1
    assert (tmp_path / "trace").read_text() == "start one\nstop one\n"
    until("nothing is left", lab.gone)


def test_a_taken_port(lab: SmallLab) -> None:
    lab.service("alpha")
    lab.service("beta")
    lab.lab("up", "beta")
    address = assign(["alpha", "beta"], lab.network)["alpha"]
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((address, 8080))
        held.listen()
        output = lab.lab("up", code=1)
        holder = f"process {os.getpid()} ({Path(f'/proc/{os.getpid()}/comm').read_text().strip()})"
        assert f"alpha: CreateContainerError\n  why: {address}:8080 is held by {holder} (end it, or choose another network in lab.toml)" in output
        assert pod(lab, "beta")["ready"]
        assert lab.log("alpha") == "", "its program was not started"
    lab.lab("up")
    assert lab.ready()


def test_a_missing_secret_changes_nothing(lab: SmallLab) -> None:
    lab.service("alpha")
    lab.lab("up")
    before, env = lab.pids(), lab.root / ".env"
    whole = env.read_text()
    env.write_text(re.sub("^A_SECRET=.*\n", "", whole, flags=re.MULTILINE))
    assert "lab: .env A_SECRET: the secret is missing (" in lab.lab("up", code=1)
    env.write_text(re.sub("^A_SECRET=.*\n", "A_SECRET=\n", whole, flags=re.MULTILINE))
    assert "lab: .env A_SECRET: the secret is missing (" in lab.lab("up", code=1)
    assert lab.pids() == before
    assert "alpha" in lab.lab("status"), "what runs is left alone"


DISKS = {
    "read-only": ("mount -t tmpfs -o ro none .lab", "Read-only file system"),
    "full": ("mount -t tmpfs -o size=8k none .lab && mkdir .lab/run && head -c 8192 /dev/zero >.lab/filler", "No space left on device"),
    "too few inodes": ("mount -t tmpfs -o nr_inodes=2 none .lab", "No space left on device"),
    "a file": ("rmdir .lab && touch .lab", "File exists"),
}


@pytest.mark.parametrize(("script", "reason"), DISKS.values(), ids=DISKS)
def test_a_state_folder_that_takes_nothing(lab: SmallLab, script: str, reason: str) -> None:
    if os.geteuid() != 0:
        missing("only root may mount a small disk")
    lab.service("alpha")
    (lab.root / ".lab").mkdir()
    argv = ["unshare", "--mount", "sh", "-euc", f'{script}\nexec "$0" -P -m ailab up', sys.executable]
    done = subprocess.run(argv, cwd=lab.root, env=lab.env, capture_output=True, text=True, timeout=30, check=False)
    if "permission denied" in done.stderr:
        missing(f"this machine lets us mount nothing: {done.stderr}")
    assert done.returncode == 1
    place = re.escape(str(lab.root / ".lab"))
    way_out = re.escape("(the lab keeps its state here: make room, or clone to a folder that is yours)")
    assert re.fullmatch(rf"lab: {place}\S*: {reason} {way_out}\n", done.stderr), done.stderr
    (lab.root / ".lab").rmdir() if (lab.root / ".lab").is_dir() else (lab.root / ".lab").unlink()


class Slow(BaseHTTPRequestHandler):
    """Serves its path as a file; what begins with "slow" only once the test says so."""

    go = threading.Event()

    def do_GET(self) -> None:
        if "slow" in self.path:
            Slow.go.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def downloads() -> Iterator[ThreadingHTTPServer]:
    Slow.go.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        Slow.go.set()
        server.shutdown()
        thread.join()


def provide(lab: SmallLab, server: ThreadingHTTPServer, file: str) -> None:
    """alpha needs a provider that is fetched from the server."""
    lab.service("alpha", native={"providers": ["thing"], "env": {"SAY": "{thing}"}})
    digest = hashlib.sha256(f"/{file}".encode()).hexdigest()
    url = f"http://127.0.0.1:{server.server_address[1]}/{file}"
    with (lab.root / "k8s" / "alpha" / "native.toml").open("a") as toml:
        toml.write(f'[provider.thing]\nversion = "{file}"\ndownload_mb = 1\ndisk_mb = 1\n[[provider.thing.source]]\nkind = "archive"\n')
        toml.write(f'url = "{url}"\nsha256 = {{{platform_name()} = "{digest}"}}\n')


def pulling(lab: SmallLab) -> None:
    until("it is being fetched", lambda: pod(lab)["status"] == "Pulling")


def test_down_during_an_installation(lab: SmallLab, downloads: ThreadingHTTPServer) -> None:
    provide(lab, downloads, "slow-1")
    lab.service("beta")
    with follow(lab) as up:
        pulling(lab)
        until("the other is ready", lambda: pod(lab, "beta")["ready"])
        lab.lab("down")
        assert up.wait(20) == 1
    until("the installer is gone too", lab.gone)
    Slow.go.set()
    lab.lab("up")
    assert lab.ready()


def test_a_newer_version_during_an_installation(lab: SmallLab, downloads: ThreadingHTTPServer) -> None:
    provide(lab, downloads, "slow-1")
    with follow(lab) as up:
        pulling(lab)
        up.kill()
    provide(lab, downloads, "quick-2")
    lab.lab("up")
    assert lab.ready()
    assert "quick-2" in lab.log("alpha")
    Slow.go.set()
    lab.lab("restart", "alpha")
    assert "slow-1" not in lab.log("alpha")


def test_an_installation_that_fails(lab: SmallLab, downloads: ThreadingHTTPServer) -> None:
    provide(lab, downloads, "quick-1")
    toml = lab.root / "k8s" / "alpha" / "native.toml"
    good = toml.read_text()
    toml.write_text(re.sub(r'sha256 = .*', f'sha256 = {{{platform_name()} = "{"0" * 64}"}}', good))
    lab.service("beta")
    output = lab.lab("up", code=1)
    assert re.search(r"^alpha: ImagePullBackOff\n  why: .*sha256", output, re.MULTILINE)
    assert pod(lab, "beta")["ready"]
    toml.write_text(good)
    lab.lab("up")
    assert lab.ready()


def test_a_request_that_is_none(lab: SmallLab) -> None:
    """A client's mistake is told to it; the lab goes on."""
    lab.service("alpha")
    lab.lab("up")
    for request in (b"\n", b"[]\n", b"nonsense\n", b'{"op": "unknown"}\n', b'{"op": "apply"}\n', b'{"op": "apply", "plan": "/nowhere"}\n'):
        with Connection(lab.state) as connection:
            connection._socket.sendall(request)
            while b"\n" not in connection._buffer:
                connection._buffer += connection._socket.recv(4096)
            assert b'"error"' in connection._buffer
    with Connection(lab.state) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection._socket.sendall(b"x" * 300_000)
        with pytest.raises(Down):
            connection.receive()
    assert lab.ready()


def test_an_up_that_follows_one_which_came_to_nothing(lab: SmallLab) -> None:
    """The first holds the right to change the lab, and ends before it has handed a plan over."""
    lab.service("alpha")
    make_state(lab.root)
    lock = str(lab.state / "run" / "up.lock")
    code = f"import fcntl, os; f = open({lock!r}, 'w'); fcntl.flock(f, 2); f.write(str(os.getpid())); f.flush(); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        assert first.stdout.readline() == "1\n"
        with follow(lab) as second:
            assert second.stdout
            following = next(line for line in iter(second.stdout.readline, "") if "another" in line)
            assert following == f"another `up` of this lab is at work (process {first.pid}): following it\n"
            first.communicate("\n", timeout=10)
            _, err = second.communicate(timeout=20)
    assert (second.returncode, err) == (1, "lab: the other `up` ended without starting anything (run ./lab up)\n")
    lab.lab("up")
    assert lab.ready()
