"""Kind python: a virtual environment by uv from a lock with hashes; the folder is the environment."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ailab.runtime.native.providers.child import environment, run
from ailab.runtime.native.providers.errors import SourceError
from ailab.runtime.native.providers.interpreters import Interpreter, candidates
from ailab.runtime.native.providers.kinds.job import Job
from ailab.runtime.native.providers.pip_settings import for_uv
from ailab.runtime.native.providers.spec import Spec
from ailab.runtime.native.providers.verdicts import Failed

_PROBE = "import sys; same = sys.implementation.name == 'cpython' and sys.version_info[:2] == (3, int(sys.argv[1])); sys.exit(not same)"


def python(job: Job) -> None:
    """Makes {name}/bin/python and what the lock lists."""
    make_environment(job, job.folder)


def choose_interpreter(request: str, spec: Spec) -> Interpreter:
    """The first candidate that runs; the last one is uv's own download."""
    for candidate in candidates(request, spec.python):
        if candidate.path is None or candidate.path == Path(sys.executable) or _runs(candidate):
            return candidate
    raise SourceError(f"no Python {request} is on this machine")


def _runs(candidate: Interpreter) -> bool:
    """Whether it is what its name says: version managers put shims on PATH for versions that aren't active."""
    try:
        command = [str(candidate.path), "-I", "-c", _PROBE, str(candidate.minor)]
        return subprocess.run(command, capture_output=True, timeout=10, check=False, env=environment()).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def make_environment(job: Job, venv: Path) -> None:
    """A virtual environment with exactly what the source's lock lists, compiled to bytecode."""
    assert job.interpreter is not None
    assert job.source.lock is not None
    lock = job.spec.of_service(job.source.lock)
    env = uv_environment()
    request = job.interpreter.request
    if job.interpreter.path is None:
        job.progress.step("python", f"no Python {job.source.fields['python']} on this machine: uv fetches {request}")
    try:
        run(
            [job.spec.uv, "venv", "--quiet", "--no-project", "--allow-existing", "--python", request, venv],
            f"uv: making {job.label}'s environment with Python {request}",
            job.budget,
            cwd=job.scratch,
            env=env,
        )
    except Failed as error:
        if job.interpreter.path is None:
            raise SourceError(f"no Python {job.source.fields['python']} is on this machine (install one, or let uv fetch it); {error}") from None
        raise
    # The lock is the whole resolution already: with --no-deps uv asks the index for files alone.
    flags: list[str | Path] = [
        "--require-hashes",
        "--no-deps",
        "--compile-bytecode",
        "--python",
        venv / "bin" / "python",
    ]
    command: list[str | Path] = [job.spec.uv, "pip", "install", *flags, "-r", lock]
    what = f"uv: installing {job.label} from {job.source.lock}"
    tell = _Downloads(job).tell
    try:
        run(command, what, job.budget, cwd=job.scratch, env=env, on_line=tell)
    except Failed as error:
        if "hash mismatch" not in error.tail.lower():
            raise
        # uv has thrown the file away; a download that broke on the way comes right the second time.
        job.progress.step("python", "a download was not what the lock says: once more")
        run(command, what, job.budget, cwd=job.scratch, env=env, on_line=tell)


class _Downloads:
    """Adds up what uv says that it has fetched; it names files of more than a megabyte alone."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._sizes: dict[str, int] = {}

    def tell(self, line: str) -> None:
        line = line.strip()
        if match := re.fullmatch(r"Downloading (\S+) \((?:.* )?([\d.]+)([KMG])iB\)", line):
            self._sizes[match[1]] = int(float(match[2]) * 1024 ** ("KMG".index(match[3]) + 1))
        elif match := re.fullmatch(r"Downloaded (\S+)", line):
            total = int(self._job.spec.download_mb * 1e6) or None
            self._job.progress.more(match[1], self._sizes.get(match[1], 0), total)
        elif not line.startswith("+ "):
            self._job.tell(line)


def uv_environment() -> dict[str, str]:
    """The machine's settings for uv, pip's among them."""
    env = environment(UV_NO_PROGRESS="1", UV_COMPILE_BYTECODE_TIMEOUT="600", NO_COLOR="1")
    env.setdefault("UV_HTTP_TIMEOUT", "60")
    return for_uv(env)
