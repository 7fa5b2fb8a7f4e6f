"""The real thing for the tests that need it: providers from the store, and a PostgreSQL of our own."""

from __future__ import annotations

import importlib.util
import os
import secrets
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from ailab.runtime.native.providers import Spec, install, installed

ROOT = Path(__file__).parents[3]
NATIVE = ROOT / "k8s" / "litellm" / "native"


def register(name: str) -> None:
    """Make native/<name>.py importable as litellm_<name>: other services have a build.py too."""
    spec = importlib.util.spec_from_file_location(f"litellm_{name}", NATIVE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)


for native_module in ("build", "migrate"):
    register(native_module)


def spec(name: str, needed: Callable[[str], Path]) -> Spec:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ailab"
    for service in sorted((ROOT / "k8s").glob("*/native.toml")):
        provider = tomllib.loads(service.read_text("utf-8")).get("provider", {}).get(name)
        if provider:
            uv = Path(sys.executable).with_name("uv")
            return Spec.parse(
                {
                    "name": name,
                    "version": provider["version"],
                    "service_dir": str(service.parent),
                    "sources": provider["source"],
                    "needs": {other: str(needed(other)) for other in provider.get("needs", [])},
                    "store": os.environ.get("AILAB_STORE") or str(cache / "store"),
                    "cache": str(cache / "downloads"),
                    "python": sys.executable,
                    "uv": str(uv) if uv.exists() else "uv",
                }
            )
    raise LookupError(f"no native.toml has a provider {name}")


@pytest.fixture(scope="session")
def provider() -> Callable[[str], Path]:
    """A provider's folder, made if it isn't in the store: for tests of the real thing."""

    def get(name: str) -> Path:
        wanted = spec(name, get)
        return installed(wanted) or install(wanted).path

    return get


@pytest.fixture(scope="session")
def in_store(provider: Callable[[str], Path]) -> Callable[[str], Path]:
    """A provider's folder if an earlier install left it. Quick tests fetch nothing: else the test is skipped, but in CI."""

    def get(name: str) -> Path:
        folder = installed(spec(name, get))
        if folder is None and os.environ.get("CI") != "true":
            pytest.skip(f"provider {name} is not installed: ./lab up installs it")
        return folder or provider(name)

    return get


@dataclass(frozen=True)
class Postgres:
    address: str
    password: str

    def url(self, database: str, role: str = "postgres") -> str:
        return f"postgresql://{role}:{self.password}@{self.address}:5432/{database}"

    def database(self, name: str) -> str:
        """A new database that a role of its own, which is no superuser, owns; the role's URL of it."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{self.password}'")
            connection.execute(f"CREATE DATABASE {name} OWNER {name}")
        return self.url(name, name)


@pytest.fixture(scope="session")
def postgres(provider: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """PostgreSQL on a loopback address of this process's own."""
    binaries = provider("postgresql") / "pg" / "bin"
    folder = tmp_path_factory.mktemp("postgres")
    server = Postgres(f"127.78.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 2}", secrets.token_hex(12))
    (folder / "password").write_text(server.password)
    # PostgreSQL refuses root, which in a user namespace can be somebody else.
    other = ["unshare", "-U", "--map-user=65534", "--map-group=65534"] if os.geteuid() == 0 else []
    init = ["initdb", "-D", folder / "data", "-U", "postgres", f"--pwfile={folder / 'password'}", "-A", "scram-sha-256"]
    subprocess.run([*other, binaries / init[0], *init[1:]], check=True, stdout=subprocess.DEVNULL, timeout=120)
    settings = [f"listen_addresses={server.address}", "unix_socket_directories=", "fsync=off", "max_connections=60"]
    command = [*other, binaries / "postgres", "-D", folder / "data", *(word for s in settings for word in ("-c", s))]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: psycopg.connect(server.url("postgres"), connect_timeout=2).close(), psycopg.OperationalError)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def wait_for(try_it: Callable[[], object], *errors: type[Exception], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            try_it()
        except errors:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
