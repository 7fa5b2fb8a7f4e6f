"""What a check is, what it may use of the lab, and how the list is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from ailab.definition.load import Definition


class Failure(Exception):
    """A check failed: the reason, and the way out."""

    def __init__(self, reason: str, way_out: str) -> None:
        super().__init__(f"{reason} ({way_out})")


@dataclass
class Lab:
    """A running lab as checks see it.

    Attributes:
        definition: what it should be.
        addresses: IP address by Service name, as they can be reached from here.
        edge: address of the edge, such as 127.0.0.1:8800.
        absent: services that this machine cannot have, with the reason.
        hosts: by service name, the host name at which the edge serves it.
        leaders: process ids that lead the lab's sessions; empty where its processes are not this machine's.
        facts: what one check learnt and another uses, such as the id of a chat.
    """

    definition: Definition
    addresses: dict[str, str]
    edge: str
    absent: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    leaders: list[int] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def url(self, service: str, port: int) -> str:
        """The base URL of a service's port."""
        return f"http://{self.addresses[service]}:{port}"

    def secret(self, name: str) -> str:
        """A value of .env."""
        return self.definition.secrets.get(name, "")

    def is_on(self, *services: str) -> bool:
        """Whether all of these should be running here."""
        return all(self.definition.settings.is_on(s) and s not in self.absent for s in services)

    def http(self, method: str, url: str, **options: Any) -> httpx.Response:
        """One request; a failure names the address.

        Raises:
            Failure: no answer, or an error status.
        """
        try:
            response = httpx.request(method, url, trust_env=False, **{"timeout": 60, **options})
        except httpx.HTTPError as error:
            raise Failure(f"{method} {url}: {type(error).__name__} {error}", "./lab status shows what runs") from None
        if response.status_code >= 400:
            raise Failure(f"{method} {url}: HTTP status {response.status_code}: {response.text[:200]}", "./lab logs of the service says why")
        return response


@dataclass(frozen=True)
class Check:
    """One promise. `run` returns what was seen, or raises Failure."""

    name: str
    run: Callable[[Lab], str]
    after: str = ""


@dataclass(frozen=True)
class Result:
    """What came of a check; `state` is ok, failed or left out."""

    name: str
    state: str
    detail: str
    seconds: float


def run(lab: Lab, checks: list[Check]) -> Iterator[Result]:
    """Run all checks in order, to the end; one whose forerunner failed is left out with that reason."""
    failed: set[str] = set()
    for check in checks:
        began = time.monotonic()
        if check.after in failed:
            failed.add(check.name)
            yield Result(check.name, "left out", f"{check.after} failed", 0)
            continue
        try:
            detail, state = check.run(lab), "ok"
        except Failure as error:
            detail, state = str(error), "failed"
        except (KeyError, ValueError, TypeError, IndexError) as error:
            # An answer of another shape than the service's own documentation gives it.
            detail, state = f"an answer that was not understood: {type(error).__name__} {error}", "failed"
        if state == "failed":
            failed.add(check.name)
        yield Result(check.name, state, detail, time.monotonic() - began)


def within(seconds: float, attempt: Callable[[], str | None], otherwise: Callable[[], Failure]) -> str:
    """Ask again until there is an answer or the time is over.

    Raises:
        Failure: what `otherwise` makes, at the end of the time.
    """
    end = time.monotonic() + seconds
    while True:
        if (found := attempt()) is not None:
            return found
        if time.monotonic() > end:
            raise otherwise()
        time.sleep(0.25)
