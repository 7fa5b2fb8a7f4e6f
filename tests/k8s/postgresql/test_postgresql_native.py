"""PostgreSQL's native entrypoint with small programs in place of the real ones, and the roles' script with the real ones."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.k8s.store import provider_folder

SERVICE = Path(__file__).parents[3] / "k8s" / "postgresql"
ENTRYPOINT = [sys.executable, "-I", "-S", str(SERVICE / "native" / "entrypoint.py")]
ROLES = ("litellm", "open_webui", "phoenix", "grafana")

INITDB = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        -D) shift; folder=$1 ;;
        --pwfile=*) password=$(cat "${1#--pwfile=}") ;;
    esac
    shift
done
mkdir -p "$folder" && cd "$folder" || exit 1
[ -z "${DIE-}" ] || { echo half > half; kill -9 $PPID; exit 1; }
printf '%s' "$password" > password
echo 18 > PG_VERSION
echo local > pg_hba.conf
"""


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """Programs that do what the entrypoint relies on, and say how they were called."""
    folder = tmp_path / "bin with space"
    folder.mkdir()
    for name, text in (("initdb", INITDB), ("postgres", '#!/bin/sh\nprintf "%s\\n" "$@"; env\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def _run(bin_dir: Path, data: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENTRYPOINT, str(bin_dir), "postgres", "-c", "x=1"],
        env={"PATH": os.defpath, "PGDATA": str(data), "POSTGRES_PASSWORD": "s3cret", "LITELLM_DB_PASSWORD": "s3cret", **env},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_cluster_is_made_once(bin_dir: Path, tmp_path: Path) -> None:
    data = tmp_path / "data" / "18" / "docker"
    first = _run(bin_dir, data)
    assert first.stdout.startswith("-c\nx=1\n")
    assert (data / "password").read_text() == "s3cret"
    assert "host all all all scram-sha-256" in (data / "pg_hba.conf").read_text()
    (data / "password").unlink()
    assert _run(bin_dir, data).returncode == 0
    assert not (data / "password").exists()


def test_the_server_gets_no_password(bin_dir: Path, tmp_path: Path) -> None:
    assert "s3cret" not in _run(bin_dir, tmp_path / "data").stdout


def test_a_kill_in_the_middle_is_repaired(bin_dir: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert _run(bin_dir, data, DIE="1").returncode == -9
    assert not data.exists()
    assert _run(bin_dir, data).returncode == 0
    assert not (data / "half").exists()
    assert not data.with_name("data.new").exists()


@pytest.mark.parametrize(
    ("env", "reason"),
    [({"POSTGRES_PASSWORD": ""}, "POSTGRES_PASSWORD is empty; set it in .env"), ({"POSTGRES_INITDB_ARGS": "--oops"}, "")],
)
def test_reasons(bin_dir: Path, tmp_path: Path, env: dict[str, str], reason: str) -> None:
    done = _run(bin_dir, tmp_path / "data", **env)
    assert reason in done.stderr
    assert bool(reason) == bool(done.returncode)


def test_files_that_are_no_cluster_stay(bin_dir: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "mine").write_text("x")
    assert "holds files but no database; move them away" in _run(bin_dir, data).stderr
    assert (data / "mine").exists()


@dataclass
class Server:
    """A real one, as the manifest starts it."""

    bin_dir: Path
    address: str
    log: Path
    env: dict[str, str] = field(default_factory=dict)

    def roles(self, **env: str) -> subprocess.CompletedProcess[str]:
        self.env |= env
        return subprocess.run(["sh", SERVICE / "roles.sh"], env=self.env, capture_output=True, text=True, timeout=60)

    def connect(self, role: str, database: str, password: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host=self.address, user=role, dbname=database, password=password, autocommit=True, connect_timeout=5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("postgres with space")
    bin_dir = provider_folder("postgresql") / "pg" / "bin"
    address = f"127.79.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 2}"
    manifest = yaml.safe_load((SERVICE / "statefulset.yml").read_text())
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    plain = {e["name"]: e["value"] for e in container["env"] if "value" in e}
    secret = {e["name"]: secrets.token_hex(12) for e in container["env"] if "valueFrom" in e}
    env = {"PATH": f"{bin_dir}:{os.defpath}", "LANG": "C.UTF-8", **plain, **secret, "PGDATA": str(folder / "18" / "data"), "PGHOST": address}
    # PostgreSQL refuses root, which in a user namespace can be somebody else.
    other = ["unshare", "-U", "--map-user=65534", "--map-group=65534"] if os.geteuid() == 0 else []
    options = ["-c", f"listen_addresses={address}", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*other, *ENTRYPOINT, bin_dir, *container["args"], *options], env=env, stdout=log, stderr=log)
    try:
        yield Server(bin_dir, address, folder / "log", env)
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.e2e
def test_roles(server: Server) -> None:
    """Each role has its own database and no other; the script changes nothing twice and takes a new password over."""
    for _ in range(2):
        done = server.roles()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    passwords = {role: server.env[f"{role.upper()}_DB_PASSWORD"] for role in ROLES}
    for role in ROLES:
        with server.connect(role, role, passwords[role]) as own:
            own.execute("CREATE TABLE mine (i int)")
            row = own.execute("SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
            assert row.fetchone() == (False,)
        for other in ("postgres", "template1", *(r for r in ROLES if r != role)):
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                server.connect(role, other, passwords[role])
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            server.connect(role, role, "wrong")
    with server.connect("open_webui", "open_webui", passwords["open_webui"]) as webui:
        assert webui.execute("SELECT '[1,2]'::vector <-> '[1,3]'").fetchone() == (1.0,)
    assert server.roles(LITELLM_DB_PASSWORD="another").returncode == 0
    server.connect("litellm", "litellm", "another").close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        server.connect("litellm", "litellm", passwords["litellm"])
    log = server.log.read_text()
    assert not [value for name, value in server.env.items() if name.endswith("_PASSWORD") and value in log]


@pytest.mark.e2e
def test_another_superuser_password_is_named(server: Server) -> None:
    right = server.env["POSTGRES_PASSWORD"]
    done = server.roles(POSTGRES_PASSWORD="wrong")
    server.env["POSTGRES_PASSWORD"] = right
    assert done.returncode == 1
    assert "POSTGRES_PASSWORD in .env is not the one that this database was made with" in done.stderr


@pytest.mark.e2e
def test_a_start_with_data_is_quick(server: Server) -> None:
    began = time.monotonic()
    assert server.roles().returncode == 0
    assert time.monotonic() - began < 5
