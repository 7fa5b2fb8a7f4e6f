"""The stand-in for Prisma's query engine: its translation by tables, and all of it under LiteLLM's own client."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ENGINE = HERE.parents[2] / "k8s" / "litellm" / "native" / "prisma-engine"
DATASOURCE = 'datasource db {\n  provider = "postgresql"\n  url = env("DATABASE_URL")\n}\n'
SCHEMA = """
model Key {
  token    String @id
  metadata Json
  data     Json?
  tpm      BigInt?
  budget   Budget? @relation(fields: [budget_id], references: [id])
}

model Budget {
  id   String @id
  max  Float?
  rules Json
  keys Key[]
}
"""
# GraphQL, as prisma-client-py writes it → the operation of the JSON protocol
TRANSLATIONS: list[tuple[str, dict[str, Any]]] = [
    (
        'query { result: findUniqueKey(where: {token: "a"}) { token metadata } }',
        {"modelName": "Key", "action": "findUnique", "query": {"arguments": {"where": {"token": "a"}},
         "selection": {"token": True, "metadata": True}}},
    ),
    (
        'mutation { result: createOneKey(data: {token: "a", metadata: "{\\"x\\":1}", data: "null"}) { token } }',
        {"modelName": "Key", "action": "createOne", "query": {"arguments": {"data": {
            "token": "a", "metadata": {"$type": "Json", "value": '{"x":1}'}, "data": {"$type": "Json", "value": "null"}}},
         "selection": {"token": True}}},
    ),
    (
        'query { result: findManyKey(where: {OR: [{metadata: {path: ["a"], equals: "1"}}, {NOT: {data: {string_contains: "x"}}}]},'
        ' orderBy: [{data: asc}], take: 2) { token } }',
        {"modelName": "Key", "action": "findMany", "query": {"arguments": {"where": {"OR": [
            {"metadata": {"path": ["a"], "equals": {"$type": "Json", "value": "1"}}}, {"NOT": {"data": {"string_contains": "x"}}}]},
            "orderBy": [{"data": "asc"}], "take": 2}, "selection": {"token": True}}},
    ),
    (
        'mutation { result: updateOneBudget(where: {id: "b"}, data: {max: {increment: 1.5}, keys: {update: [{where: {token: "t"},'
        ' data: {data: "1"}}], create: [{token: "u", metadata: "2"}]}}) { id keys(where: {metadata: {equals: "3"}}) { token } } }',
        {"modelName": "Budget", "action": "updateOne", "query": {"arguments": {"where": {"id": "b"}, "data": {
            "max": {"increment": 1.5}, "keys": {
                "update": [{"where": {"token": "t"}, "data": {"data": {"$type": "Json", "value": "1"}}}],
                "create": [{"token": "u", "metadata": {"$type": "Json", "value": "2"}}]}}},
         "selection": {"id": True, "keys": {
             "arguments": {"where": {"metadata": {"equals": {"$type": "Json", "value": "3"}}}}, "selection": {"token": True}}}}},
    ),
    (
        'query { result: findManyKey(where: {budget: {is: {rules: {equals: "4"}}}, tpm: 9007199254740993}) { token } }',
        {"modelName": "Key", "action": "findMany", "query": {"arguments": {"where": {
            "budget": {"is": {"rules": {"equals": {"$type": "Json", "value": "4"}}}},
            "tpm": {"$type": "BigInt", "value": "9007199254740993"}}}, "selection": {"token": True}}},
    ),
    (
        'query { result: findFirstKeyOrThrow(where: {data: null}) { token } }',
        {"modelName": "Key", "action": "findFirstOrThrow", "query": {"arguments": {"where": {"data": None}}, "selection": {"token": True}}},
    ),
    (
        'mutation { result: queryRaw(query: "SELECT $1", parameters: "[1]") }',
        {"action": "queryRaw", "query": {"arguments": {"query": "SELECT $1", "parameters": "[1]"}, "selection": {}}},
    ),
]  # fmt: skip
ANSWERS: list[tuple[str, Any, Any]] = [
    (
        "findMany",
        [{"at": {"$type": "DateTime", "value": "2026-01-01T00:00:00.000Z"}, "j": {"$type": "Json", "value": '{"$type":"x"}'}}],
        [{"at": "2026-01-01T00:00:00.000Z", "j": '{"$type":"x"}'}],
    ),
    ("count", {"small": {"$type": "BigInt", "value": "7"}, "large": {"$type": "BigInt", "value": "9007199254740993"}},
     {"small": 7, "large": "9007199254740993"}),
    ("findUnique", None, None),
    (
        "queryRaw",
        {"columns": ["a", "b"], "types": ["int-array", "text"], "rows": [[[1, None], None]]},
        [{"a": {"prisma__type": "array", "prisma__value": [{"prisma__type": "int", "prisma__value": 1},
                                                          {"prisma__type": "null", "prisma__value": None}]},
          "b": {"prisma__type": "null", "prisma__value": None}}],
    ),
    ("executeRaw", 3, 3),
]  # fmt: skip


@pytest.fixture(scope="session")
def javascript(in_store: Callable[[str], Path]) -> Callable[[str, Any], Any]:
    """Runs a function of the engine's modules: the body gets `input` and the modules, and returns what is wanted."""
    node, engine = in_store("node") / "bin" / "node", in_store("prisma-engine")

    def run(body: str, given: Any) -> Any:
        # The repository's files with the store's packages: a change is tested without an install.
        script = (
            f"const load = (m) => require('{ENGINE}/' + m);"
            "const input = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
            f"process.stdout.write(JSON.stringify((() => {{ {body} }})() ?? null));"
        )
        done = subprocess.run(
            [node, "-e", script], input=json.dumps(given), capture_output=True, text=True, timeout=30,
            env={"NODE_PATH": str(engine / "node_modules")}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_requests_become_operations(javascript: Callable[[str, Any], Any]) -> None:
    body = """const t = load('translate'); const models = t.fieldsOf(input.schema);
              return input.queries.map((query) => t.toOperations({ query }, models));"""
    got = javascript(body, {"schema": SCHEMA, "queries": [query for query, _ in TRANSLATIONS]})
    for (query, expected), operations in zip(TRANSLATIONS, got, strict=True):
        assert operations == [{"alias": "result", "operation": expected}], query


def test_answers_become_results(javascript: Callable[[str, Any], Any]) -> None:
    body = """const t = load('translate');
              return input.map(([action, value]) => t.toResult({ data: { x: value } }, { alias: 'result', operation: { action } }));"""
    got = javascript(body, [[action, value] for action, value, _ in ANSWERS])
    assert got == [{"data": {"result": expected}} for _, _, expected in ANSWERS]


@pytest.mark.parametrize(
    ("query", "reason"),
    [("query { result: dropEverything }", "operation dropEverything"), ("query { result: findManyNothing { a } }", "model Nothing")],
)
def test_what_is_not_known_is_refused(javascript: Callable[[str, Any], Any], query: str, reason: str) -> None:
    body = "const t = load('translate'); try { t.toOperations(input, {}); } catch (e) { return e.message; }"
    assert javascript(body, {"query": query}) == reason


def test_url_becomes_the_pools_settings(javascript: Callable[[str, Any], Any]) -> None:
    body = "const { max, connectionTimeoutMillis, ...s } = load('database').poolSettings(new URL(input)); return { max, connectionTimeoutMillis, ...s };"
    got = javascript(body, "postgresql://litellm:p%40ss@pg.example:5433/lite?connection_limit=7&pool_timeout=60")
    assert (got["host"], got["port"], got["user"], got["password"], got["database"]) == ("pg.example", 5433, "litellm", "p@ss", "lite")
    assert (got["max"], got["connectionTimeoutMillis"], got["ssl"]) == (7, 60000, False)


@pytest.mark.parametrize("parameter", ["sslmode=verify-ca", "schema=a%22b"])
def test_settings_that_are_not_supported_are_refused(javascript: Callable[[str, Any], Any], parameter: str) -> None:
    body = "try { load('database').poolSettings(new URL(input)); } catch (e) { return e.message; }"
    assert javascript(body, f"postgresql://a:b@c/d?{parameter}").endswith("is not supported")


def test_the_other_ends_user_is_found_in_the_kernels_table(javascript: Callable[[str, Any], Any]) -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:B268 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n"
        "   1: 0100007F:C350 0100007F:B268 01 00000000:00000000 00:00000000 00000000 65534        0 12 1 0 20 4 30 10 -1\n"
        "   2: 0100007F:B268 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 20 4 30 10 -1\n"
    )
    assert javascript("return [...load('peer').owners(input, 0xB268)];", table) == [[0xC350, 65534]]
    assert javascript("return [...load('peer').owners(input, 0xB269)];", table) == []


def test_another_user_gets_no_answer(in_store: Callable[[str], Path], tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can ask as another user")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "schema.prisma").write_text(DATASOURCE)
    env = {"PATH": f"{in_store('node')}/bin:{os.defpath}", "PRISMA_DML_PATH": str(tmp_path / "schema.prisma")}
    env["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    ask = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET /status HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"]
    engine = subprocess.Popen([in_store("prisma-engine") / "query-engine", "-p", str(port)], env=env)
    try:
        deadline = time.monotonic() + 20
        while not (ours := subprocess.run(ask, capture_output=True, timeout=10, check=False).stdout):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        theirs = subprocess.run(ask, capture_output=True, timeout=10, check=False, user=65534, group=65534, extra_groups=[])
    finally:
        engine.kill()
        engine.wait(10)
    assert ours.endswith(b'{"status":"ok"}')
    assert theirs.stdout == b""


def test_the_version_is_the_one_that_the_client_expects() -> None:
    lock = json.loads((ENGINE.parent / "prisma-schema" / "package-lock.json").read_text("utf-8"))
    parser = lock["packages"]["node_modules/@prisma/prisma-schema-wasm"]["version"]
    done = subprocess.run([ENGINE / "query-engine", "--version"], capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout == f"query-engine {parser.rsplit('.', 1)[1]}\n"


def test_an_engine_that_cannot_start_says_why(in_store: Callable[[str], Path], tmp_path: Path) -> None:
    schema = tmp_path / "schema.prisma"
    schema.write_text(DATASOURCE)
    env = {"PATH": f"{in_store('node')}/bin:{os.defpath}", "PRISMA_DML_PATH": str(schema)}
    done = subprocess.run([in_store("prisma-engine") / "query-engine", "-p", "1"], env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == "prisma-engine: cannot start: no URL of a database: DATABASE_URL does not give one\n"


CASES = re.findall(r"^async def (case_\w+)", (HERE / "engine_cases.py").read_text("utf-8"), re.MULTILINE)


@pytest.fixture(scope="session")
def results(provider: Callable[[str], Path], postgres: Any) -> dict[str, str]:
    """All cases at once, in LiteLLM's environment, against a database that LiteLLM's migrations made."""
    from litellm_migrate import migrate

    litellm, node, engine = provider("litellm"), provider("node"), provider("prisma-engine")
    url = postgres.database("cases")
    (extras,) = litellm.glob("lib/python3*/site-packages/litellm_proxy_extras/migrations")
    assert migrate(url, extras) > 200
    env = {
        "PATH": f"{node}/bin:{os.defpath}",
        "DATABASE_URL": f"{url}?connection_limit=10&pool_timeout=60",
        "PRISMA_QUERY_ENGINE_BINARY": str(engine / "query-engine"),
    }
    done = subprocess.run([litellm / "bin" / "python", "-I", HERE / "engine_cases.py"], env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.mark.e2e
@pytest.mark.parametrize("case", CASES)
def test_litellms_client_gets_what_it_asks(results: dict[str, str], case: str) -> None:
    assert results[case] == "ok", results[case]
