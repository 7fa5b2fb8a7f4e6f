"""Apply LiteLLM's migrations without Prisma's CLI, which can't be had where its CDN is out of reach.

Same scripts, same order, same table (`_prisma_migrations`) and same advisory lock as `prisma migrate deploy`, which the container
image runs: a database made natively can move to Kubernetes, and back.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[object, ...]]

# The key of Prisma's own lock: two migrators of any kind never run at once.
# https://github.com/prisma/prisma-engines/blob/main/schema-engine/connectors/sql-schema-connector/src/flavour/postgres.rs
LOCK = 72707369
LOCK_WAIT_S = 120
DATABASE_WAIT_S = 60.0
# What libpq knows of the parameters that a DATABASE_URL for Prisma may carry.
LIBPQ = {"sslmode", "sslrootcert", "sslcert", "sslkey", "options", "application_name", "connect_timeout"}

TABLE = """
CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum            VARCHAR(64) NOT NULL,
    finished_at         TIMESTAMPTZ,
    migration_name      VARCHAR(255) NOT NULL,
    logs                TEXT,
    rolled_back_at      TIMESTAMPTZ,
    started_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
)
"""


class MigrationError(Exception):
    """The database is not as LiteLLM needs it; says which migration, why, and what to do."""


@dataclass(frozen=True)
class Migration:
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """CREATE INDEX CONCURRENTLY alone is refused in a transaction; such a script holds nothing else."""
        code = re.sub(r"--[^\n]*", "", self.sql)
        return not re.search(r"\bCONCURRENTLY\b", code, re.IGNORECASE)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if (entry / "migration.sql").is_file())


def read(folder: Path, name: str) -> Migration:
    return Migration(name, (folder / name / "migration.sql").read_text(encoding="utf-8"))


def libpq_url(url: str) -> str:
    """The URL without what only Prisma understands (`connection_limit`, `schema`, …)."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode([(k, v) for k, v in parse_qsl(parts.query) if k in LIBPQ])))


def connect(url: str, wait_s: float = DATABASE_WAIT_S) -> Connection:
    """Connect as soon as the database answers: it may be starting at the same moment."""
    import psycopg

    deadline = time.monotonic() + wait_s
    told = ""
    while True:
        try:
            return psycopg.connect(libpq_url(url), autocommit=True, connect_timeout=5)
        except psycopg.OperationalError as error:
            cause = " ".join(str(error).split())
            if time.monotonic() > deadline:
                raise MigrationError(f"no connection to the database in {wait_s:.0f} s: {cause}") from None
            if cause != told:
                told = cause
                print(f"start: waiting for the database: {cause}", file=sys.stderr, flush=True)
            time.sleep(0.1)


@contextmanager
def locked(connection: Connection) -> Iterator[None]:
    import psycopg

    connection.execute(f"SET lock_timeout = '{LOCK_WAIT_S}s'")
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    except psycopg.errors.LockNotAvailable:
        raise MigrationError(
            f"another migration has held its lock for {LOCK_WAIT_S} s: "
            f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} names its session"
        ) from None
    connection.execute("SET lock_timeout = DEFAULT")
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def applied(connection: Connection) -> set[str]:
    """Names of the migrations that are in; refuses a database whose history is unknown."""
    if not _exists(connection, "_prisma_migrations"):
        if _exists(connection, '"LiteLLM_VerificationToken"'):
            raise MigrationError(
                "the database holds LiteLLM's tables but no record of its migrations (_prisma_migrations): "
                "restore a whole backup, or give LiteLLM an empty database"
            )
        return set()
    rows = connection.execute("SELECT migration_name, finished_at IS NOT NULL, logs FROM _prisma_migrations WHERE rolled_back_at IS NULL").fetchall()
    for name, finished, logs in rows:
        if not finished and not (logs == RETRY):
            raise MigrationError(
                f"migration {name} was begun and never finished: see what of it is in the database, then "
                f"UPDATE _prisma_migrations SET finished_at = now() WHERE migration_name = '{name}' if all of it is, "
                "or SET rolled_back_at = now() if nothing is"
            )
    return {str(name) for name, finished, _ in rows if finished}


RETRY = "may be run again: outside a transaction, and each statement says IF NOT EXISTS"


def apply(connection: Connection, migration: Migration) -> None:
    """Run one script and record it: together where PostgreSQL allows it, so that a kill leaves both or neither."""
    import psycopg

    try:
        if migration.in_transaction:
            with connection.transaction():
                connection.execute(migration.sql)
                _record(connection, migration, finished=True)
            return
        connection.execute("DELETE FROM _prisma_migrations WHERE migration_name = %s", (migration.name,))
        _record(connection, migration, finished=False)
        _drop_invalid_indexes(connection, migration.sql)
        connection.execute(migration.sql)
        connection.execute(
            "UPDATE _prisma_migrations SET finished_at = now(), logs = NULL, applied_steps_count = 1 WHERE migration_name = %s",
            (migration.name,),
        )
    except psycopg.Error as error:
        cause = " ".join(str(error).split())
        raise MigrationError(f"migration {migration.name} failed, and nothing after it was tried: {cause}") from None


def migrate(url: str, folder: Path, *, say: Callable[[str], None] = lambda _: None, wait_s: float = DATABASE_WAIT_S) -> int:
    """Bring the database up to the folder's last migration; how many were applied."""
    import psycopg

    wanted = names(folder)
    try:
        with connect(url, wait_s) as connection:
            if _exists(connection, "_prisma_migrations") and applied(connection).issuperset(wanted):
                return 0
            with locked(connection):
                done = applied(connection)
                connection.execute(TABLE)
                todo = [name for name in wanted if name not in done]
                say(f"applying {len(todo)} migrations, {len(done)} are in")
                for name in todo:
                    apply(connection, read(folder, name))
            return len(todo)
    except psycopg.Error as error:
        raise MigrationError(f"the database failed while migrating: {' '.join(str(error).split())}") from None


def _exists(connection: Connection, relation: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (relation,)).fetchone()
    return bool(row and row[0])


def _record(connection: Connection, migration: Migration, *, finished: bool) -> None:
    connection.execute(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count, logs)"
        " VALUES (%s, %s, %s, CASE WHEN %s THEN now() END, %s, %s)",
        (str(uuid.uuid4()), migration.checksum, migration.name, finished, int(finished), None if finished else RETRY),
    )


def _drop_invalid_indexes(connection: Connection, sql: str) -> None:
    """A build that was cut off leaves its index behind, invalid, and IF NOT EXISTS would be content with it."""
    for index in re.findall(r'INDEX\s+CONCURRENTLY\s+IF\s+NOT\s+EXISTS\s+"([^"]+)"', sql, re.IGNORECASE):
        row = connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", (f'"{index}"',)).fetchone()
        if row and not row[0]:
            connection.execute(f'DROP INDEX CONCURRENTLY "{index}"')
