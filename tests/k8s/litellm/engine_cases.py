"""What LiteLLM asks of its query engine, through LiteLLM's own generated client. Runs in its environment: `engine_cases.py`.

Prints one JSON object: case → "ok" or what went wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import signal
import sys
import traceback
from typing import Any

import prisma.errors
import prisma.types
from prisma import Base64, Json, Prisma
from prisma.enums import JobStatus

TEXT = 'é\n"q" \\ 😀'
MARK = {"created_by": "case", "updated_by": "case"}


async def case_every_model_is_readable(db: Any) -> None:
    from prisma.builder import PRISMA_MODELS

    assert len(PRISMA_MODELS) > 90
    for model in sorted(PRISMA_MODELS):
        await getattr(db, model.lower()).find_first()
        await getattr(db, model.lower()).count()


async def case_values_come_back_as_they_went(db: Any) -> None:
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.UTC)
    value = {"a": [1, None, TEXT], "d": {"$type": "x"}}
    row = await db.litellm_budgettable.create(
        data={"max_budget": 1.5, "tpm_limit": 9007199254740993, "rpm_limit": 5, "model_max_budget": Json(value)}
        | {"budget_reset_at": at, "allowed_models": ["x", TEXT], **MARK}
    )
    row = await db.litellm_budgettable.find_unique(where={"budget_id": row.budget_id})
    assert (row.max_budget, row.tpm_limit, row.rpm_limit) == (1.5, 9007199254740993, 5)
    assert row.model_max_budget == value
    assert row.budget_reset_at == at
    assert row.allowed_models == ["x", TEXT]


async def case_enum(db: Any) -> None:
    jobs = db.litellm_cronjob
    ttl = datetime.datetime.now(datetime.UTC)
    row = await jobs.create(data={"pod_id": "p", "ttl": ttl, "status": JobStatus.ACTIVE})
    assert row.status == JobStatus.ACTIVE
    row = await jobs.update(where={"cronjob_id": row.cronjob_id}, data={"status": "INACTIVE"})
    assert row.status == JobStatus.INACTIVE
    assert await jobs.count(where={"status": "INACTIVE", "cronjob_id": row.cronjob_id}) == 1
    assert await jobs.count(where={"status": {"in": ["ACTIVE"]}, "cronjob_id": row.cronjob_id}) == 0


async def case_bytes(db: Any) -> None:
    content = bytes(range(256)) * 40
    row = await db.litellm_managedfilecontenttable.create(data={"content": Base64.encode(content)})
    row = await db.litellm_managedfilecontenttable.find_unique(where={"id": row.id})
    assert row.content.decode() == content


async def case_a_json_field_may_be_named_data(db: Any) -> None:
    value = {"data": {"where": ["AND", TEXT]}}
    await db.litellm_lens.create(
        data={"id": "lens", "data": Json(value), "reviews": {"create": [{"criteria_key": "k", "execution_id": "e", "data": Json("s")}]}}
    )
    row = await db.litellm_lens.find_unique(where={"id": "lens"}, include={"reviews": True})
    assert row.data == value
    assert row.reviews[0].data == "s"
    row = await db.litellm_lens.update(where={"id": "lens"}, data={"data": Json([1]), "version": {"increment": 2}})
    assert (row.data, row.version) == ([1], 2)
    key = {"lens_id": "lens", "criteria_key": "k", "execution_id": "e"}
    found = await db.litellm_lensreview.find_unique(where={"lens_id_criteria_key_execution_id": key})
    assert found.data == "s"


async def case_update_delete_upsert(db: Any) -> None:
    table = db.litellm_budgettable
    row = await table.create(data={"max_budget": 1.0, **MARK})
    row = await table.update(where={"budget_id": row.budget_id}, data={"max_budget": {"increment": 2.25}, "allowed_models": {"set": ["z"]}})
    assert (row.max_budget, row.allowed_models) == (3.25, ["z"])
    assert await table.update(where={"budget_id": "none"}, data={"max_budget": 1}) is None
    assert await table.delete(where={"budget_id": "none"}) is None
    for expected in (None, 7):
        row = await table.upsert(where={"budget_id": "up"}, data={"create": {"budget_id": "up", **MARK}, "update": {"max_budget": 7}})
        assert row.max_budget == expected


async def case_errors_have_their_types(db: Any) -> None:
    await db.litellm_budgettable.create(data={"budget_id": "twice", **MARK})
    with raises(prisma.errors.UniqueViolationError):
        await db.litellm_budgettable.create(data={"budget_id": "twice", **MARK})
    with raises(prisma.errors.ForeignKeyViolationError, prisma.errors.RecordNotFoundError):
        await db.litellm_verificationtoken.create(data={"token": "t", "budget_id": "none"})
    with raises(prisma.errors.RawQueryError):
        await db.query_raw("SELECT nocolumn FROM notable")


async def case_filters_and_order(db: Any) -> None:
    table = db.litellm_budgettable
    rows = [{"budget_id": f"f{i}", "max_budget": float(i), "created_by": "f", "updated_by": "f"} for i in range(5)]
    assert await table.create_many(data=rows) == 5
    assert await table.create_many(data=rows[:1], skip_duplicates=True) == 0
    found = await table.find_many(
        where={"OR": [{"budget_id": {"in": ["f1", "f2"]}}, {"max_budget": {"gte": 3.0}}], "created_by": "f"},
        order=[{"budget_id": "desc"}], take=3, skip=1,
    )  # fmt: skip
    assert [row.budget_id for row in found] == ["f3", "f2", "f1"]
    mine = {"created_by": "f"}
    assert len(await table.find_many(where={"soft_budget": None, **mine})) == 5
    assert await table.count(where={"budget_id": {"contains": "F", "mode": "insensitive"}, **mine}) == 5
    assert await table.count(select={"_all": True, "max_budget": True}, where=mine) == {"_all": 5, "max_budget": 5}
    now = datetime.datetime.now(datetime.UTC)
    assert await table.count(where={"created_at": {"gte": now - datetime.timedelta(minutes=1)}, **mine}) == 5
    groups = await table.group_by(by=["created_by"], sum={"max_budget": True}, count=True, where=mine, order={"created_by": "asc"})
    assert groups == [{"created_by": "f", "_sum": {"max_budget": 10.0}, "_count": {"_all": 5}}]
    assert await table.update_many(where=mine, data={"soft_budget": 1.0}) == 5
    assert await table.delete_many(where=mine) == 5


async def case_relations(db: Any) -> None:
    await db.litellm_budgettable.create(data={"budget_id": "rel", **MARK})
    key = await db.litellm_verificationtoken.create(
        data={"token": "rel-token", "budget_id": "rel", "metadata": Json({"a": 1})}, include={"litellm_budget_table": True}
    )
    assert key.litellm_budget_table.budget_id == "rel"
    assert key.metadata == {"a": 1}
    row = await db.litellm_budgettable.find_unique(where={"budget_id": "rel"}, include={"keys": {"where": {"token": "rel-token"}, "take": 1}})
    assert [k.token for k in row.keys] == ["rel-token"]
    keys = db.litellm_verificationtoken
    assert await keys.count(where={"litellm_budget_table": {"is": {"budget_id": "rel"}}}) == 1
    assert await keys.count(where={"metadata": {"path": ["a"], "equals": Json(1)}}) == 1
    assert await keys.count(where={"metadata": {"equals": Json({"a": 1})}, "token": "rel-token"}) == 1


async def case_raw_queries(db: Any) -> None:
    row = await db.query_first(
        "SELECT $1::int AS i, $2::text AS t, $3::float8 AS f, 5::bigint AS b, '{\"a\":1}'::jsonb AS j, 1.25::numeric AS d,"
        " ARRAY['x','y'] AS arr, null AS nothing, true AS yes, '2026-01-01'::date AS day, 'n'::name AS n, interval '1 day' AS span",
        7, 'hé"llo', 2.5,
    )  # fmt: skip
    assert (row["i"], row["t"], row["f"], row["b"], row["j"], row["d"]) == (7, 'hé"llo', 2.5, 5, {"a": 1}, 1.25)
    assert (row["arr"], row["nothing"], row["yes"], row["day"][:10], row["n"]) == (["x", "y"], None, True, "2026-01-01", "n")
    await db.litellm_budgettable.create(data={"budget_id": "raw", **MARK})
    found = await db.query_raw(
        'SELECT budget_id FROM "LiteLLM_BudgetTable" WHERE budget_id = ANY($1::text[]) AND created_at >= $2::timestamp',
        ["raw", "other"], "2020-01-01T00:00:00Z",
    )  # fmt: skip
    assert found == [{"budget_id": "raw"}]
    assert await db.execute_raw('UPDATE "LiteLLM_BudgetTable" SET soft_budget=$1 WHERE budget_id=$2', 3.0, "raw") == 1
    assert await db.execute_raw("SELECT pg_advisory_xact_lock(1)") == 1


async def case_batches_are_atomic(db: Any) -> None:
    table = db.litellm_budgettable
    async with db.batch_() as batch:
        batch.litellm_budgettable.create(data={"budget_id": "b1", **MARK})
        batch.litellm_budgettable.update(where={"budget_id": "b1"}, data={"max_budget": 9})
    assert (await table.find_unique(where={"budget_id": "b1"})).max_budget == 9
    with raises(prisma.errors.UniqueViolationError):
        async with db.batch_() as batch:
            batch.litellm_budgettable.create(data={"budget_id": "b2", **MARK})
            batch.litellm_budgettable.create(data={"budget_id": "b1", **MARK})
    assert await table.find_unique(where={"budget_id": "b2"}) is None


async def case_transactions(db: Any) -> None:
    table = db.litellm_budgettable
    async with db.tx() as tx:
        await tx.litellm_budgettable.create(data={"budget_id": "t1", **MARK})
        async with tx.batch_() as batch:
            batch.litellm_budgettable.update(where={"budget_id": "t1"}, data={"max_budget": 3})
        assert (await tx.litellm_budgettable.find_unique(where={"budget_id": "t1"})).max_budget == 3
        assert await table.find_unique(where={"budget_id": "t1"}) is None
    assert await table.find_unique(where={"budget_id": "t1"}) is not None
    with raises(ZeroDivisionError):
        async with db.tx() as tx:
            await tx.litellm_budgettable.create(data={"budget_id": "t2", **MARK})
            raise ZeroDivisionError
    assert await table.find_unique(where={"budget_id": "t2"}) is None
    with raises(prisma.errors.TransactionExpiredError, prisma.errors.TransactionError):
        async with db.tx(timeout=datetime.timedelta(milliseconds=200)) as tx:
            await asyncio.sleep(0.6)
            await tx.litellm_budgettable.count()


async def case_hundreds_at_once(db: Any) -> None:
    await asyncio.gather(*(db.litellm_budgettable.find_first() for _ in range(400)))


async def case_the_engine_listens_on_loopback_alone(db: Any) -> None:
    engine = db._engine
    port = f"{int(engine.url.rsplit(':', 1)[1]):04X}"
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as file:  # noqa: PTH123
            rows = [line.split() for line in file.readlines()[1:]]
        listening += [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
    assert listening == [f"0100007F:{port}"], listening


async def case_y_model_types_are_loaded_when_asked_for(_db: Any) -> None:
    """Everything above ran without the 245,000 lines; they are there all the same."""
    assert "prisma._model_types" not in sys.modules
    assert prisma.types.LiteLLM_LensWhereInput.__total__ is False
    assert "prisma._model_types" in sys.modules
    with raises(AttributeError):
        _ = prisma.types.NoSuchType


async def case_z_killed_in_flight(db: Any) -> None:
    """Requests that are under way fail at once with an error; a new engine answers."""
    slow = [asyncio.ensure_future(db.query_raw("SELECT pg_sleep(30)::text")) for _ in range(3)]
    await asyncio.sleep(0.5)
    os.kill(db._engine.process.pid, signal.SIGKILL)
    done, pending = await asyncio.wait(slow, timeout=5)
    assert not pending
    assert all(task.exception() is not None for task in done)
    fresh = Prisma()
    await fresh.connect()
    assert await fresh.query_first("SELECT 1 AS one") == {"one": 1}
    await fresh.disconnect()


@contextlib.contextmanager
def raises(*types: type[BaseException]) -> Any:
    try:
        yield
    except types:
        return
    raise AssertionError(f"{' or '.join(t.__name__ for t in types)} was not raised")


async def main() -> None:
    results = {}
    db = Prisma()
    await db.connect()
    for name, case in sorted(globals().items()):
        if name.startswith("case_"):
            try:
                await asyncio.wait_for(case(db), 60)
                results[name] = "ok"
            except Exception:
                results[name] = traceback.format_exc()
    await db.disconnect()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
