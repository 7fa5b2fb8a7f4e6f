"""Migrations: what is applied, what is recorded, and what a cut-off one leaves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from litellm_migrate import Migration, MigrationError, libpq_url, migrate, names


def put(folder: Path, **scripts: str) -> Path:
    for name, sql in scripts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "migration.sql").write_text(sql)
    return folder


def test_names_are_in_order_and_may_have_spaces(tmp_path: Path) -> None:
    put(tmp_path, **{"2025_b": "", "20251_Add a column": "", "2024_a": ""})
    (tmp_path / "migration_lock.toml").write_text("")
    (tmp_path / "empty").mkdir()
    assert names(tmp_path) == ["2024_a", "20251_Add a column", "2025_b"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TABLE a ();", True),
        ('-- CREATE INDEX CONCURRENTLY is no good here\nCREATE INDEX "i" ON a (b);', True),
        ('-- why\nCREATE INDEX CONCURRENTLY IF NOT EXISTS "i" ON a (b);', False),
    ],
)
def test_which_scripts_run_in_a_transaction(sql: str, expected: bool) -> None:
    assert Migration("m", sql).in_transaction is expected


def test_prismas_parameters_do_not_reach_the_driver() -> None:
    url = "postgresql://u:p%40@h:5432/d?connection_limit=10&sslmode=require&pool_timeout=60"
    assert libpq_url(url) == "postgresql://u:p%40@h:5432/d?sslmode=require"


def test_a_database_that_is_away_is_named_and_waited_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match=r"no connection to the database in 0 s: .*refused"):
        migrate("postgresql://u:hidden@127.78.250.250:1/d", tmp_path, wait_s=0.3)
    told = capsys.readouterr().err
    assert told.count("waiting for the database") == 1
    assert "hidden" not in told


@pytest.fixture
def url(postgres: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    name = "m" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    return postgres.database(name)


def rows(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.e2e
def test_each_is_applied_once_and_recorded_as_prisma_does(url: str, tmp_path: Path) -> None:
    put(tmp_path, m1="CREATE TABLE a (b int);", m2="ALTER TABLE a ADD c int; CREATE INDEX i ON a (c);")
    assert migrate(url, tmp_path) == 2
    assert migrate(url, tmp_path) == 0
    put(tmp_path, m3="INSERT INTO a VALUES (1, 2);")
    assert migrate(url, tmp_path) == 1
    found = rows(url, "SELECT migration_name, checksum, applied_steps_count, finished_at IS NOT NULL FROM _prisma_migrations ORDER BY 1")
    assert [(name, steps, done) for name, _, steps, done in found] == [("m1", 1, True), ("m2", 1, True), ("m3", 1, True)]
    assert found[0][1] == hashlib.sha256(b"CREATE TABLE a (b int);").hexdigest()
    assert rows(url, "SELECT * FROM a") == [(1, 2)]


@pytest.mark.e2e
def test_a_failing_one_leaves_nothing_and_is_named(url: str, tmp_path: Path) -> None:
    put(tmp_path, m1="CREATE TABLE a ();", m2="CREATE TABLE b (); SELECT 1/0;", m3="CREATE TABLE c ();")
    with pytest.raises(MigrationError, match="migration m2 failed, and nothing after it was tried: division by zero"):
        migrate(url, tmp_path)
    assert rows(url, "SELECT to_regclass('a') IS NOT NULL, to_regclass('b'), to_regclass('c')") == [(True, None, None)]
    (tmp_path / "m2" / "migration.sql").write_text("CREATE TABLE b ();")
    assert migrate(url, tmp_path) == 2


@pytest.mark.e2e
def test_two_at_once_apply_each_once(url: str, tmp_path: Path) -> None:
    put(tmp_path, m1="CREATE TABLE a (); SELECT pg_sleep(0.5);", m2="CREATE TABLE b ();")
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(migrate(url, tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(counts) == [0, 0, 2]


@pytest.mark.e2e
def test_a_cut_off_index_is_built_again(url: str, tmp_path: Path) -> None:
    put(tmp_path, m1="CREATE TABLE a (b int); INSERT INTO a VALUES (1), (1);")
    assert migrate(url, tmp_path) == 1
    put(tmp_path, m2='CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "i" ON a (b);')
    with pytest.raises(MigrationError, match="migration m2 failed"):
        migrate(url, tmp_path)
    assert rows(url, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('i')") == [(False,)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM a WHERE ctid = (SELECT min(ctid) FROM a)")
    assert migrate(url, tmp_path) == 1
    assert rows(url, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('i')") == [(True,)]
    assert rows(url, "SELECT count(*) FROM _prisma_migrations WHERE finished_at IS NULL") == [(0,)]


@pytest.mark.e2e
def test_a_database_of_unknown_history_is_left_alone(url: str, tmp_path: Path) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('CREATE TABLE "LiteLLM_VerificationToken" ()')
    put(tmp_path, m1="CREATE TABLE a ();")
    with pytest.raises(MigrationError, match="no record of its migrations"):
        migrate(url, tmp_path)
    assert rows(url, "SELECT to_regclass('a')") == [(None,)]


@pytest.mark.e2e
def test_one_that_prisma_left_unfinished_is_named(url: str, tmp_path: Path) -> None:
    put(tmp_path, m1="CREATE TABLE a ();")
    assert migrate(url, tmp_path) == 1
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE _prisma_migrations SET finished_at = NULL")
    with pytest.raises(MigrationError, match="migration m1 was begun and never finished"):
        migrate(url, tmp_path)


@pytest.mark.e2e
def test_a_lock_that_is_not_given_up_is_not_waited_for_without_end(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litellm_migrate.LOCK_WAIT_S", 1)
    put(tmp_path, m1="CREATE TABLE a ();")
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(72707369)")
        with pytest.raises(MigrationError, match="another migration has held its lock for 1 s"):
            migrate(url, tmp_path)
