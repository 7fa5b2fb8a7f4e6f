"""Runs the tools of others (uv, npm, git, go, apt) and says in the lab's words why they failed."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ailab.runtime.native.providers.errors import SourceError, scrub
from ailab.runtime.native.providers.progress import Budget
from ailab.runtime.native.providers.verdicts import verdict

_TAIL_LINES = 15
_TAIL_WIDTH = 400
_GUARD = Path(__file__).with_name("guard.py")
# AILAB_LAB is the mark by which a supervisor knows its lab's processes.
_KEPT = re.compile(
    r"AILAB_LAB|PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_.*|TZ|TMPDIR|XDG_.*|NETRC|APT_CONFIG|(https?|all|no|ftp)_proxy"
    r"|SSL_CERT_.*|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS|GIT_.*|NIX_SSL_CERT_FILE"
    r"|(PIP|UV|NPM_CONFIG|GO|CGO|MAVEN)_.*|GO[A-Z0-9]+|NPM_TOKEN|NODE_AUTH_TOKEN|CC|CXX|CFLAGS|LDFLAGS",
    re.IGNORECASE,
)
# They point uv at another environment or project than the provider's.
_DROPPED = {
    "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_TARGET",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GOBIN",
    "GOFLAGS",
}


def environment(**extra: str) -> dict[str, str]:
    """The machine's settings for the tools (indexes, proxies, certificates) and nothing else: no secret of the lab."""
    kept = {key: value for key, value in os.environ.items() if _KEPT.fullmatch(key) and key not in _DROPPED}
    return {**kept, "LC_ALL": "C.UTF-8", **extra}


def tool(name: str, way_out: str) -> str:
    """The path of a program of this machine, or a SourceError that says how to get it."""
    found = shutil.which(name)
    if not found:
        raise SourceError(f"{name} is not on this machine ({way_out})")
    return found


def run(
    argv: Sequence[str | Path],
    what: str,
    budget: Budget,
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
    network: bool = True,
) -> list[str]:
    """Runs a program to its end and returns the last lines of its output.

    Args:
        what: names it in an error: "uv: installing litellm".
        network: whether it may use one.

    Raises:
        Failed: it ended with an error.
        SourceError: its time ran out.
        StoreError: it found the disk full.
    """
    command = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *map(str, argv)]
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            _read(process, budget, tail, on_line)
            code = process.wait(budget.left())
        except subprocess.TimeoutExpired:
            budget.left()
            raise SourceError(f"{what}: not done in time") from None
        finally:
            _end(process)
    if code == 0:
        return list(tail)
    raise verdict(what, code if code > 0 else 128 - code, tail, network=network)


def _read(process: subprocess.Popen[bytes], budget: Budget, tail: deque[str], on_line: Callable[[str], None] | None) -> None:
    """Takes lines until the output ends; a line without an end is cut, so that memory stays bounded."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(budget.left(1.0)):
                if process.poll() is not None:
                    # The guard was killed, and what it could not end holds the pipe.
                    return
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            if not chunk or len(rest) > 65536:
                lines, rest = [*lines, rest], b""
            for raw in lines:
                line = scrub(raw.decode(errors="replace").rstrip())[:_TAIL_WIDTH]
                if line:
                    tail.append(line)
                    if on_line:
                        on_line(line)
            if not chunk:
                return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the guard, which ends everything below it; without it the kernel kills its child."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
