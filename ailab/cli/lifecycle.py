"""`down`, `status`, `restart` and `open`."""

from __future__ import annotations

import contextlib
import time
import webbrowser
from pathlib import Path
from typing import Any

from ailab.cli import report
from ailab.cli.output import emit, fail, say
from ailab.definition.problems import did_you_mean
from ailab.runtime.native import client
from ailab.runtime.native.control import Connection, Down, Refused

_NOT_UP = "the lab is not up (./lab up starts it)"


def down(root: Path, services: list[str], as_json: bool) -> int:
    """Stop the lab, or some of its services."""
    began = time.monotonic()
    try:
        with client.connect(root) as connection:
            if services:
                _known(services, [p["name"] for p in connection.ask("status")["pods"]])
                connection.send("stop", pods=services)
                stopped = connection.receive(client.STOP_S)
                if as_json:
                    emit(stopped)
                else:
                    say(f"stopped: {', '.join(stopped['stopped'])} (./lab up starts them again)")
                return 0
            connection.send("down")
            connection.receive(client.STOP_S)
            with contextlib.suppress(Down):  # the socket closes when all is ended
                connection.receive(30)
    except Down:
        left = client.clear(root)
        if as_json:
            emit({"stopped": bool(left)})
        else:
            say(f"the lab was not up; ended {left} processes that were left of it" if left else "the lab was not up")
        return 0
    except (Refused, TimeoutError) as error:
        fail(f"the lab did not stop: {error} (./lab status shows what still runs)")
    if as_json:
        emit({"stopped": True})
    else:
        say(f"the lab is down after {time.monotonic() - began:.1f} s; its data stays in .lab/data")
    return 0


def status(root: Path, as_json: bool) -> int:
    """Show every service."""
    try:
        with client.connect(root) as connection:
            found = connection.ask("status", memory=True)
    except Down:
        if as_json:
            emit({"pods": []})
            return 1
        fail(_NOT_UP)
    except Refused as error:
        fail(error)
    if as_json:
        emit(found)
    else:
        say(report.rows(found))
        if lines := report.troubles(found):
            say()
            say("\n".join(lines))
    return int(report.failed(found))


def restart(root: Path, services: list[str], as_json: bool) -> int:
    """Replace services by fresh ones and wait for them."""
    try:
        with client.connect(root) as connection:
            known = [p["name"] for p in connection.ask("status")["pods"]]
            _known(services, known)
            names = services or known
            connection.send("restart", pods=names)
            done = connection.receive(client.STOP_S)
            found = _wait(connection, names)
    except Down:
        fail(_NOT_UP)
    except (Refused, TimeoutError) as error:
        fail(f"the restart failed: {error}")
    if as_json:
        emit(done)
    else:
        say(report.rows(found))
    return int(report.failed(found, names))


def _known(names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            fail(f"no service is named {name!r} ({did_you_mean(name, known)})", code=2)


def _wait(connection: Connection, names: list[str], seconds: float = 180) -> dict[str, Any]:
    end = time.monotonic() + seconds
    connection.send("watch")
    while True:
        found = connection.receive(max(0.1, end - time.monotonic()))
        if report.settled(found, names):
            return found


def open_(root: Path, service: str) -> int:
    """Open a service's address in the browser, or say it where there is none."""
    try:
        with client.connect(root) as connection:
            pods = {p["name"]: p for p in connection.ask("status")["pods"]}
    except Down:
        fail(_NOT_UP)
    except Refused as error:
        fail(error)
    with_page = sorted(n for n, p in pods.items() if p["urls"])
    if service not in with_page:
        _known([service], list(pods))
        fail(f"{service} has no page (those that have one: {', '.join(with_page)})", code=2)
    url = pods[service]["urls"][0]
    say(url)
    webbrowser.open(url)
    return 0
