"""The same commands as another user than root: an own home, an own store, PostgreSQL without a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Clone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NOBODY = 65534


@pytest.fixture
def user() -> Iterator[Path]:
    """A folder that belongs to a user without rights."""
    if os.geteuid() != 0:
        pytest.skip("all other end-to-end tests run as this user already; root alone can become another")
    folder = Path(tempfile.mkdtemp(prefix="ailab-user-"))
    yield folder
    shutil.rmtree(folder)


def test_a_user_without_rights_brings_services_up(user: Path) -> None:
    clone = Clone(user / "clone")
    settings = user / "clone" / "lab.toml"
    settings.write_text(settings.read_text().replace("127.93.0.0/16", "127.92.0.0/16").replace("18893", "18892"))
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(user)], check=True)
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or "python3"
    private = ("HOME", "XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR", "AILAB_STORE")
    env = {k: v for k, v in os.environ.items() if k not in private and not k.startswith("PYENV")}
    env |= {"HOME": str(user / "home"), "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": python}
    (user / "home").mkdir()
    os.chown(user / "home", NOBODY, NOBODY)
    try:
        done = clone.lab("up", "postgresql", "llama-cpp", env=env, user=NOBODY, group=NOBODY, extra_groups=[])
        assert "postgresql  1/1    Running" in done.stdout
        pid = next(p["containers"][0]["pid"] for p in clone.status()["pods"] if p["name"] == "postgresql")
        assert os.stat(f"/proc/{pid}").st_uid == NOBODY
    finally:
        clone.lab("down", code=None, env=env, user=NOBODY, group=NOBODY, extra_groups=[])
