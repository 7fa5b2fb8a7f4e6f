"""What the command line does with the lab of a folder: finds its supervisor, or starts it, and hands it plans."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ailab.runtime.native import guard
from ailab.runtime.native.control import Connection, Down
from ailab.runtime.native.process import code_digest, lab_of

# Every pod has its grace period, and they end in the order of their needs.
STOP_S = 300.0
_START_S = 30.0
_END_S = 120.0


class CannotStart(Exception):
    """The supervisor could not be started; its text names place, cause and way out."""


def state_of(root: Path) -> Path:
    """The lab's state folder."""
    return root / ".lab"


def make_state(root: Path) -> Path:
    """The state folder, made if need be.

    Raises:
        CannotStart: it cannot be written.
    """
    state = state_of(root)
    try:
        for folder in (state, state / "run", state / "logs", state / "data"):
            folder.mkdir(exist_ok=True)
        state.chmod(0o700)  # what people upload and services log is nobody else's
        probe = state / "run" / f".write-{os.getpid()}"
        try:
            probe.write_bytes(b"x" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        place = error.filename or state
        raise CannotStart(f"{place}: {error.strerror} (the lab keeps its state here: make room, or clone to a folder that is yours)") from error
    return state


def _store() -> Path:
    """Where providers are installed; downloads lie beside it."""
    if chosen := os.environ.get("AILAB_STORE"):
        return Path(chosen).expanduser().absolute()
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise CannotStart("this user has no home folder (set AILAB_STORE to a folder that can be written)") from None
    return Path(cache).absolute() / "ailab" / "store"


def environment() -> dict[str, str]:
    """What installers need to know of this shell."""
    kept = ("UV_", "PIP_", "GO", "NPM_CONFIG_", "SSL_CERT_", "GIT_")
    names = ("PATH", "HOME", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")
    return {k: v for k, v in os.environ.items() if k.upper() in names or k.upper().startswith(kept)}


def place(root: Path, inputs: str) -> Any:
    """Where the lab of a folder lives on this machine."""
    from ailab.runtime.native.plan import Place

    state = state_of(root)
    store = _store()
    uv = Path(sys.executable).with_name("uv")
    return Place(
        lab=lab_of(state),
        root=str(root),
        state=str(state),
        inputs=inputs,
        python=sys.executable,
        uv=str(uv) if uv.exists() else "uv",
        store=str(store),
        cache=str(store.parent / "downloads"),
    )


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[int]:
    """Hold the right to change the lab; yields 0, or the process id of another `up` that holds it."""
    handle = os.open(state / "run" / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield int(os.read(handle, 20) or b"1")
        else:
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            yield 0
    finally:
        os.close(handle)


def connect(root: Path) -> Connection:
    """The connection to a running supervisor.

    Raises:
        Down: the lab is not up.
    """
    return Connection(state_of(root))


def ensure(root: Path) -> Connection:
    """The connection to the lab's supervisor, which is started if none runs.

    Raises:
        CannotStart: with what it said.
    """
    state, end = make_state(root), time.monotonic() + _START_S
    while True:
        with contextlib.suppress(Down):
            connection = Connection(state)
            status = connection.ask("status")
            if status["code"] == code_digest() and not status["stopping"]:
                return connection
            with connection:
                if not status["stopping"]:
                    # Newer code on disk: the new supervisor goes on with the remembered plan.
                    connection.ask("end")
                end = time.monotonic() + _END_S
                connection.send("watch")
                with contextlib.suppress(TimeoutError):
                    while time.monotonic() < end:
                        connection.receive(_END_S)
        said = _spawn(state)
        if said == b"ready":
            with contextlib.suppress(Down):
                return Connection(state)
        if said not in (b"ready", b"busy") or time.monotonic() > end:
            raise CannotStart(f"{state}/logs/guard.log: the supervisor did not start (its last lines: {_last(state)})")
        time.sleep(0.1)  # a supervisor that has just closed its socket ends within moments


def clear(root: Path) -> int:
    """End what is left of a lab whose supervisor does not answer; returns how many processes that were.

    Raises:
        TimeoutError: its guard does not end.
    """
    state, end = state_of(root), time.monotonic() + _END_S
    if not (state / "run" / "lock").exists():
        return 0
    lock = os.open(state / "run" / "lock", os.O_RDWR)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # A guard that is about to start its supervisor again.
                if time.monotonic() > end:
                    raise TimeoutError(f"process {guard.holder(lock)} does not end") from None
                if pid := guard.holder(lock):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                time.sleep(0.1)
        (state / "run" / "plan.json").unlink(missing_ok=True)
        return guard.sweep(lab_of(state))
    finally:
        os.close(lock)


def _spawn(state: Path) -> bytes:
    read, write = os.pipe()
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with (state / "logs" / "guard.log").open("ab") as log:
        guard_process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ailab.runtime.native.guard", str(state), str(write)],
            cwd="/", env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[write], start_new_session=True,
        )  # fmt: skip
    guard_process.returncode = 0  # it outlives us: nobody waits for it, and nothing need warn of that
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        return pipe.read(5)


def _last(state: Path) -> str:
    with contextlib.suppress(OSError):
        return " | ".join((state / "logs" / "guard.log").read_text("utf-8", "replace").splitlines()[-3:])
    return "none"
