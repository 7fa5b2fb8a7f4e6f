"""Probes against tiny real servers and commands."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ailab.runtime.native.model import Probe
from ailab.runtime.native.probes import ask

ADDRESS = "127.122.0.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


def answers(text: bytes, seen: list[bytes] | None = None, wait: float = 0) -> Handler:
    """A server that says the same to everybody."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.read(4096)
            if seen is not None:
                seen.append(head)
            await asyncio.sleep(wait)
            writer.write(text)
        finally:
            writer.close()

    return handle


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, ADDRESS, 0)  # type: ignore[arg-type]
    yield server.sockets[0].getsockname()[1]
    server.close()


async def no_command(argv: list[str], timeout: float) -> tuple[int, str]:
    raise AssertionError("no command is asked for")


def http(handler: Handler, **numbers: float) -> str | None:
    async def main() -> str | None:
        async with serving(handler) as port:
            return await ask(Probe("http", port, "/health", **{"timeout": 5, **numbers}), ADDRESS, no_command)  # type: ignore[arg-type]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", None),
        (b"HTTP/1.0 204\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", None),
        (b"HTTP/1.1 399 Odd\r\n\r\n", None),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "HTTP status 400"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 503 No\r\n\r\n", "HTTP status 503"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "HTTP status 100"),
        (b"SSH-2.0-OpenSSH\r\n", "not an HTTP answer"),
        (b"\xff\x00\xfe", "not an HTTP answer"),
        (b"HTTP/1.1 OK\r\n\r\n", "not an HTTP answer"),
        (b"", "not an HTTP answer"),
        (b"x" * 300_000, "not an HTTP answer"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_http_answers(answer: bytes, reason: str | None) -> None:
    assert http(answers(answer)) == reason


def test_http_that_is_slow() -> None:
    assert http(answers(b"HTTP/1.1 200 OK\r\n\r\n", wait=5), timeout=0.05) == "no answer within 0.05 s"
    assert http(answers(b"HTTP/1.1 200 OK\r\n\r\n", wait=0.05)) is None


def test_what_is_asked() -> None:
    seen: list[bytes] = []

    async def main() -> None:
        async with serving(answers(b"HTTP/1.1 200 OK\r\n\r\n", seen)) as port:
            probe = Probe("http", port, "/a?b", headers={"X-Key": "k", "Host": "own"}, timeout=5)
            assert await ask(probe, ADDRESS, no_command) is None

    asyncio.run(main())
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /a?b HTTP/1.1"
    assert {"Host: own", "X-Key: k", "User-Agent: kube-probe/1.34", "Connection: close"} <= set(lines)


def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind((ADDRESS, 0))
        port = held.getsockname()[1]
        for kind in ("http", "tcp"):
            reason = asyncio.run(ask(Probe(kind, port), ADDRESS, no_command))  # type: ignore[arg-type]
            assert reason is not None
            assert f"{ADDRESS}" in reason
            assert "Connect" in reason or "refused" in reason


def test_tcp() -> None:
    async def main() -> str | None:
        async with serving(answers(b"")) as port:
            return await ask(Probe("tcp", port, timeout=5), ADDRESS, no_command)

    assert asyncio.run(main()) is None


def test_a_server_that_speaks_no_tls() -> None:
    async def main() -> str | None:
        async with serving(answers(b"no TLS here at all, sorry\n")) as port:
            return await ask(Probe("http", port, scheme="HTTPS", timeout=5), ADDRESS, no_command)

    reason = asyncio.run(main())
    assert reason is not None
    assert ADDRESS in reason


@pytest.mark.parametrize(("result", "reason"), [((0, "fine"), None), ((1, "no\n"), "exit code 1: no"), ((127, "x" * 500), f"exit code 127: {'x' * 200}")])
def test_exec(result: tuple[int, str], reason: str | None) -> None:
    async def execute(argv: list[str], timeout: float) -> tuple[int, str]:
        assert (argv, timeout) == (["pg_isready"], 3)
        return result

    assert asyncio.run(ask(Probe("exec", command=["pg_isready"], timeout=3), ADDRESS, execute)) == reason


def test_exec_that_hangs() -> None:
    async def execute(argv: list[str], timeout: float) -> tuple[int, str]:
        raise TimeoutError

    assert asyncio.run(ask(Probe("exec", command=["x"], timeout=3), ADDRESS, execute)) == "no answer within 3 s"
