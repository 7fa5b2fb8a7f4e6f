"""Children: nothing outlives the installer, output and time are bounded, secrets stay here."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ailab.runtime.native.providers import child
from ailab.runtime.native.providers.child import environment, run, tool
from ailab.runtime.native.providers.errors import SourceError, StoreError
from ailab.runtime.native.providers.progress import Budget
from ailab.runtime.native.providers.verdicts import Failed, verdict

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[5]
# Starts a process that leaves its parent, session and group; both hold the pipe open until they end.
ESCAPES = """
import os, sys, signal, time
pipe = os.open(sys.argv[1], os.O_WRONLY)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(pipe, b"x")
        time.sleep(600)
    os._exit(0)
os.write(pipe, b"x")
time.sleep(600 if sys.argv[2] == "stay" else 0)
"""


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def call(code: str, *args: str | Path, cwd: Path, seconds: float = 60, network: bool = True, **other: Any) -> list[str]:
    argv = [sys.executable, "-c", code, *args]
    return run(argv, "tool: its task", Budget(seconds), cwd=cwd, env=environment(), network=network, **other)


def test_output_comes_line_by_line_and_its_end_is_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    tail = call("for n in range(100): print('line', n, end='\\r' if n % 2 else '\\n')", cwd=tmp_path, on_line=lines.append)
    assert len(lines) == 100
    assert tail == [f"line {number}" for number in range(85, 100)]


def test_output_without_an_end_stays_bounded(tmp_path: Path) -> None:
    tail = call("import sys; [sys.stdout.write('x' * 1_000_000) for _ in range(50)]", cwd=tmp_path)
    assert len(tail) <= 15
    assert max(map(len, tail)) == 400


def test_passwords_in_output_are_not_passed_on(tmp_path: Path) -> None:
    assert call("print('GET https://me:s3cret@index/x')", cwd=tmp_path) == ["GET https://index/x"]


def test_a_failure_says_the_last_lines(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        call("import sys; print('one', flush=True); print('two', file=sys.stderr); sys.exit(3)", cwd=tmp_path)
    assert str(caught.value) == "tool: its task ended with 3 and said last:\n    one\n    two"
    with pytest.raises(Failed) as caught:
        call("import os; os.kill(os.getpid(), 9)", cwd=tmp_path)
    assert str(caught.value) == "tool: its task was killed by signal 9 and said last: nothing"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        run([tmp_path / "none"], "none: its task", Budget(9), cwd=tmp_path, env=environment())
    assert str(caught.value) == (f"none: its task ended with 127 and said last:\n    {tmp_path}/none: No such file or directory")
    with pytest.raises(SourceError) as missing:
        tool("no-such-tool", "install it")
    assert str(missing.value) == "no-such-tool is not on this machine (install it)"


def test_time_is_bounded_and_nothing_is_left(tmp_path: Path, pipe: Path) -> None:
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    with pytest.raises(SourceError) as caught:
        call(ESCAPES, pipe, "stay", cwd=tmp_path, seconds=1)
    assert str(caught.value) == "not done within 1 s (a slow line or machine: run it again, it goes on)"
    # The end of the file comes when the last one who could write is gone.
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"xx"


def test_what_a_program_leaves_running_ends_with_it(tmp_path: Path, pipe: Path) -> None:
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    call(ESCAPES, pipe, "go", cwd=tmp_path)
    with os.fdopen(reader, "rb") as file:
        assert b"x" in file.read()


INSTALLER = """
import sys
from pathlib import Path
from ailab.runtime.native.providers.child import environment, run
from ailab.runtime.native.providers.progress import Budget
argv = [sys.executable, "-c", sys.argv[1], sys.argv[2], "stay"]
run(argv, "tool", Budget(600), cwd=Path(sys.argv[2]).parent, env=environment())
"""


@pytest.mark.parametrize("victim", ["installer", "guard"])
def test_kill_9_leaves_no_orphan(pipe: Path, victim: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INSTALLER, ESCAPES, str(pipe)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    with process, pipe.open("rb") as file:
        assert file.read(2) == b"xx", "both run"
        if victim == "installer":
            process.kill()
            assert file.read() == b""
            return
        (guard,) = _children(process.pid)
        program, escaped = _children(guard)
        os.kill(guard, signal.SIGKILL)
        try:
            assert process.stderr is not None
            assert process.wait(60) == 1
            assert _state(program) in ("gone", "Z"), "a zombie waits for init alone"
        finally:
            os.kill(escaped, signal.SIGKILL)
        assert b"tool was killed by signal 9" in process.stderr.read()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return sorted(found)


def test_the_environment_holds_the_machines_settings_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"https_proxy": "http://proxy", "SSL_CERT_FILE": "/a.pem", "UV_DEFAULT_INDEX": "https://i", "PIP_CERT": "/b"}
    others = {
        "LITELLM_MASTER_KEY": "sk-1", "OPENAI_API_KEY": "sk-2", "GOOGLE_API_KEY": "x", "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": "/x", "VIRTUAL_ENV": "/v", "UV_PYTHON": "3.9", "GIT_DIR": "/g", "GOBIN": "/b", "LD_PRELOAD": "/l",
    }  # fmt: skip
    for name, value in (settings | others).items():
        monkeypatch.setenv(name, value)
    env = environment(HOME="/home")
    assert env.items() >= {**settings, "HOME": "/home", "LC_ALL": "C.UTF-8"}.items()
    assert not env.keys() & others.keys()


MEANS = {
    "error: dns error: failed to lookup address": "its registry's name can't be resolved (no network, or no DNS: check the connection and HTTPS_PROXY)",
    "npm error code ENOTFOUND": "its registry's name can't be resolved (no network, or no DNS: check the connection and HTTPS_PROXY)",
    "Err:1 http://x Temporary failure resolving 'x'": "its registry's name can't be resolved (no network, or no DNS: check the connection and HTTPS_PROXY)",
    "invalid peer certificate: UnknownIssuer": "its registry's certificate isn't trusted here (set SSL_CERT_FILE to your authority's)",
    "connect ECONNREFUSED 127.0.0.1:9": "its registry refused the connection (check the network and HTTPS_PROXY)",
    "Hash mismatch for `six==1.17.0`": "what came isn't what the lock says (a broken or changed download; it was not used)",
    "HTTP status client error (403 Forbidden) for url": "its registry refused the request (check the index settings, the proxy and the firewall)",
    "npm error code E401": "its registry refused the request (check the index settings, the proxy and the firewall)",
    "error: operation timed out": "its registry did not answer in time (check the network, or try again)",
    "dial tcp: connect: network is unreachable": "its registry can't be reached (check the network)",
}


@pytest.mark.parametrize(("line", "meaning"), MEANS.items(), ids=MEANS)
def test_what_a_tools_words_mean(line: str, meaning: str) -> None:
    tail = ["Resolved 403 packages in 1s", f"  {line}", "hint: something"]
    assert str(verdict("uv: x", 2, tail, network=True)) == f"uv: x: {meaning}; it said: {line}"
    assert str(verdict("x: build", 2, tail, network=False)).startswith("x: build ended with 2 and said last:\n")


def test_a_full_disk_is_no_matter_of_the_source() -> None:
    error = verdict("uv: x", 2, ["error: No space left on device (os error 28)"], network=True)
    assert isinstance(error, StoreError)
    assert error.reason == "the disk is full (uv: x; it said: error: No space left on device (os error 28))"


def test_the_guard_ends_when_its_installer_already_has() -> None:
    guard = Path(child.__file__).with_name("guard.py")
    done = subprocess.run([sys.executable, "-I", "-S", str(guard), "1", "echo", "ran"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (143, b"")
