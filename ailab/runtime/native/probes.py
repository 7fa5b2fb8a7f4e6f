"""One probe, once: HTTP, TCP or a command, with the meaning that Kubernetes gives them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from ailab.runtime.native.model import Probe

Execute = Callable[[list[str], float], Awaitable[tuple[int, str]]]


async def ask(probe: Probe, address: str, execute: Execute) -> str | None:
    """Try a probe.

    Args:
        probe: what to try; its timeout bounds the whole of it.
        address: where the container's ports are.
        execute: runs a command in the container's environment: exit code and output.

    Returns:
        None when it succeeds, else the reason as kubectl would word it.
    """
    try:
        if probe.kind == "exec":
            code, output = await execute(probe.command, probe.timeout)
            return None if code == 0 else f"exit code {code}: {output.strip()[-200:]}"
        async with asyncio.timeout(probe.timeout):
            return await (_http(probe, address) if probe.kind == "http" else _tcp(probe, address))
    except TimeoutError:
        return f"no answer within {probe.timeout:g} s"
    except ValueError:  # a first line without an end
        return "not an HTTP answer"
    except OSError as error:
        return f"{address}:{probe.port}: {error.strerror or error}"


async def _tcp(probe: Probe, address: str) -> None:
    _, writer = await asyncio.open_connection(address, probe.port)
    writer.close()


async def _http(probe: Probe, address: str) -> str | None:
    context = ssl._create_unverified_context() if probe.scheme == "HTTPS" else None  # noqa: S323 - as a kubelet does
    reader, writer = await asyncio.open_connection(address, probe.port, ssl=context)
    try:
        headers = {"Host": f"{address}:{probe.port}", "User-Agent": "kube-probe/1.34", "Accept": "*/*", **probe.headers}
        lines = [f"GET {probe.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        status = (await reader.readline()).split()
        if len(status) < 2 or not status[1].isdigit():
            return "not an HTTP answer"
        code = int(status[1])
        return None if 200 <= code < 400 else f"HTTP status {code}"
    finally:
        writer.close()
