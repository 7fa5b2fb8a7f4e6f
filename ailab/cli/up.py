"""`up`: make what runs equal to the definition, and follow it until every service is ready or known not to become so."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from ailab.cli import report
from ailab.cli.output import coloured, emit, fail, paint, say
from ailab.definition import dotenv
from ailab.definition.inputs import inputs_digest
from ailab.runtime.native import client
from ailab.runtime.native.control import Connection, Down, Refused

_RETRY_S = 600.0


def up(root: Path, services: list[str], as_json: bool) -> int:
    """Bring the lab, or some services with what they require, up.

    Returns:
        0: as asked; 1: something that this machine can run is not ready.
    """
    try:
        state = client.make_state(root)
        if dotenv.make(root / ".env.example", root / ".env") and not as_json:
            say("made .env with new random secrets (mode 0600)")
    except (client.CannotStart, OSError) as error:
        fail(error)
    digest = inputs_digest(root)
    with client.only_one(state) as other:
        if other and not as_json:
            say(f"another `up` of this lab is at work (process {other}): following it")
        if not services and not other and (status := _nothing_to_do(root, digest)):
            return _end(root, status, as_json, fresh=False)
        try:
            connection = client.ensure(root)
        except client.CannotStart as error:
            fail(error)
        with connection:
            wanted = None
            if not other:
                wanted = _apply(root, connection, digest, services)
            status = _follow(connection, wanted, _timeout(root), other, quiet=as_json)
    if other and status.get("inputs") != digest:
        fail("the other `up` applied the definition as it was before your last edit (run ./lab up again)")
    return _end(root, status, as_json, fresh=True, names=wanted)


def _nothing_to_do(root: Path, digest: str) -> dict[str, Any] | None:
    """The status, when it is already all that the definition asks for."""
    with contextlib.suppress(Down, Refused), client.connect(root) as connection:
        status = connection.ask("status", memory=True)
        complete = {p["name"] for p in status["pods"]} >= set(status["planned"])
        # What could not be had is tried again now and then: a network or a tool may have come.
        stale = any(p["unavailable"] and status["now"] - (p["installed"] or p["began"]) > _RETRY_S for p in status["pods"])
        if status["inputs"] == digest and complete and not stale and report.settled(status) and not report.failed(status):
            return status
    return None


def _apply(root: Path, connection: Connection, digest: str, services: list[str]) -> list[str] | None:
    from ailab.definition.load import load
    from ailab.definition.problems import DefinitionError, did_you_mean
    from ailab.runtime.native import model
    from ailab.runtime.native.plan import make_plan

    try:
        definition = load(root)
        plan = make_plan(definition, client.place(root, digest))
    except DefinitionError as error:
        fail(*error.problems)
    except client.CannotStart as error:
        fail(error)
    names = [p.name for p in plan.pods]
    for name in services:
        if name in definition.services and name not in names:
            fail(f"{name} is off (turn it on under [services] in lab.toml)", code=2)
        if name not in names:
            fail(f"no service is named {name!r} ({did_you_mean(name, names)})", code=2)
    path = client.state_of(root) / "run" / "next-plan.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(model.dump(plan))
    only = [*services, "ingress"] if services else None
    try:
        connection.send("apply", plan=str(path), only=only, environment=client.environment())
        connection.receive(client.STOP_S)
    except (Refused, TimeoutError) as error:
        fail(f"the supervisor could not apply the definition: {error}")
    return only


def _timeout(root: Path) -> int:
    from ailab.definition.settings import read_settings

    settings, _ = read_settings(root / "lab.toml", [])
    return settings.native.ready_timeout_s if settings else 180


def _follow(connection: Connection, wanted: list[str] | None, timeout: int, other: int, quiet: bool) -> dict[str, Any]:
    """Watch until all is settled; installations may take their time, starts may not.

    Args:
        other: the process id of the `up` that is followed; 0 for our own.
    """
    screen = _Screen(quiet)
    connection.send("watch")
    end = time.monotonic() + timeout
    status: dict[str, Any] = {"pods": []}
    try:
        while True:
            try:
                status = connection.receive(min(1.0, timeout))
            except TimeoutError:
                if other and not status["pods"] and not os.path.exists(f"/proc/{other}"):
                    fail("the other `up` ended without starting anything (run ./lab up)")
            else:
                screen.show(status)
            pods = [p for p in status["pods"] if wanted is None or p["name"] in wanted]
            if any(p["status"] == "Pulling" for p in pods):
                end = time.monotonic() + timeout
            if report.settled(status, wanted):
                break
            if time.monotonic() > end:
                break
    except KeyboardInterrupt:
        screen.clear()
        say("the lab goes on starting by itself; ./lab status shows it, ./lab down ends it")
        raise SystemExit(130) from None
    except Down:
        fail("the supervisor ended; its last words are in .lab/logs/guard.log (./lab up starts it again)")
    screen.clear()
    return status


def _end(root: Path, status: dict[str, Any], as_json: bool, fresh: bool, names: list[str] | None = None) -> int:
    if fresh:
        with contextlib.suppress(Down, Refused, TimeoutError), client.connect(root) as connection:
            status = connection.ask("status", memory=True)
    bad = report.failed(status, names)
    if as_json:
        emit(status)
        return int(bad)
    say(report.rows(status))
    if lines := report.troubles(status):
        say()
        say("\n".join(lines))
    urls = [u for p in status["pods"] if p["name"] == "open-webui" for u in p["urls"]]
    if urls and not bad:
        say()
        say(f"chat: {paint(urls[0], '1')}  (or: ./lab chat \"What is the capital of France?\")")
        say("login: OPEN_WEBUI_ADMIN_EMAIL and OPEN_WEBUI_ADMIN_PASSWORD in .env")
    return int(bad)


class _Screen:
    """Shows progress: one line that changes on a terminal, a line for each event elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.live, self.seen = quiet, coloured(), set[str]()
        self.began = time.monotonic()

    def show(self, status: dict[str, Any]) -> None:
        """Take a new status."""
        if self.quiet:
            return
        for pod in status["pods"]:
            word = "ready" if pod["ready"] else pod["status"]
            if word == "Pulling":
                word = f"installing {pod['reason'].split(':')[0].split()[0]}"
            event = f"{pod['name']:<12} {word}"
            if word not in ("Pending", "Running", "Waiting") and event not in self.seen:
                self.seen.add(event)
                self.clear()
                say(f"{time.monotonic() - self.began:6.1f} s  {event}")
        if self.live:
            busy = [p for p in status["pods"] if not (p["ready"] or p["unavailable"])]
            line = "waiting for " + ", ".join(f"{p['name']} ({p['reason']})" if p["status"] == "Pulling" else p["name"] for p in busy)
            width = os.get_terminal_size().columns - 1
            sys.stdout.write("\r\x1b[K" + line[:width])
            sys.stdout.flush()

    def clear(self) -> None:
        """Remove the line that changes."""
        if self.live and not self.quiet:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
