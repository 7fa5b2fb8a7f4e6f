"""Give the lab's own services a key each: fixed values from .env, made in LiteLLM's database when they are missing there.

Runs as the postStart hook of the litellm container, in its image as well as natively, so it needs nothing but Python.
A changed value in .env replaces the old key. Keys travel in bodies and headers only: LiteLLM logs each URL.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WAIT_S = 300.0
REQUEST_S = 20.0
# Straight to our own address, whatever http_proxy says.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Service:
    """A service that calls the gateway, and what its key may do."""

    alias: str
    variable: str
    routes: tuple[str, ...]


SERVICES = (
    # Chat, embeddings and the list of models; nothing that manages keys, users or spend.
    Service("open-webui", "OPEN_WEBUI_GATEWAY_KEY", ("llm_api_routes",)),
    Service("prometheus", "PROMETHEUS_GATEWAY_KEY", ("/metrics",)),
)


class ServiceKeyError(Exception):
    """The keys can't be made; says why and what to do."""


def values(environment: Mapping[str, str]) -> dict[str, str]:
    """The key of each service by alias; all mistakes at once."""
    master = environment.get("LITELLM_MASTER_KEY", "")
    found = {service.alias: environment.get(service.variable, "") for service in SERVICES}
    wrong = [] if master else ["LITELLM_MASTER_KEY is not set"]
    for service in SERVICES:
        value = found[service.alias]
        if not value.startswith("sk-") or len(value) < 20:
            wrong.append(f"{service.variable}: LiteLLM takes keys that begin with sk- and have 20 characters or more")
        elif value == master:
            wrong.append(f"{service.variable} is the master key: {service.alias} needs one of its own")
        elif list(found.values()).count(value) > 1:
            wrong.append(f"{service.variable} is also another service's key")
    if wrong:
        raise ServiceKeyError("; ".join(wrong) + " (see .env)")
    return found


def token(key: str) -> str:
    """What LiteLLM keeps of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


class Gateway:
    """LiteLLM's key management, with the master key."""

    def __init__(self, url: str, master: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {master}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)
        try:
            with _opener.open(request, timeout=REQUEST_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            # The body may repeat what was sent, a key among it.
            raise ServiceKeyError(f"{method} {path.partition('?')[0]} was answered with HTTP {error.code}") from None

    def wait(self, seconds: float) -> None:
        """Until the gateway is ready with its database: 200 alone also comes from one that has none."""
        deadline = time.monotonic() + seconds
        last = "no answer yet"
        while time.monotonic() < deadline:
            try:
                state = self.call("GET", "/health/readiness")
                if isinstance(state, dict) and state.get("db") == "connected":
                    return
                last = "no database"
            except (OSError, ValueError, ServiceKeyError) as error:
                last = str(error)
            time.sleep(0.1)
        raise ServiceKeyError(f"the gateway was not ready within {seconds:.0f} s: {last}")

    def keys(self, alias: str) -> dict[str, dict[str, Any]]:
        """What is registered under an alias, by token."""
        answer = self.call("GET", f"/key/list?key_alias={alias}&return_full_object=true&size=100")
        return {entry["token"]: entry for entry in answer["keys"] if entry.get("key_alias") == alias}


def settle(gateway: Gateway, wanted: Mapping[str, str]) -> dict[str, str]:
    """Make the registered keys those of .env; what was done, by alias."""
    present = {service.alias: gateway.keys(service.alias) for service in SERVICES}
    # All old ones go first: two values in .env may have changed places.
    old = [t for alias, keys in present.items() for t in keys if t != token(wanted[alias])]
    if old:
        gateway.call("POST", "/key/delete", {"keys": old})
    done: dict[str, str] = {}
    for service in SERVICES:
        key = wanted[service.alias]
        rights = {"allowed_routes": list(service.routes)}
        registered = present[service.alias].get(token(key))
        if registered is None:
            gateway.call("POST", "/key/generate", {"key": key, "key_alias": service.alias, **rights})
            done[service.alias] = "replaced" if present[service.alias] else "made"
        elif registered.get("allowed_routes") != rights["allowed_routes"]:
            gateway.call("POST", "/key/update", {"key": key, **rights})
            done[service.alias] = "corrected"
        else:
            done[service.alias] = "unchanged"
    return done


def main() -> None:
    try:
        wanted = values(os.environ)
        gateway = Gateway(os.environ.get("SERVICE_KEYS_URL", "http://127.0.0.1:4000"), os.environ["LITELLM_MASTER_KEY"])
        gateway.wait(WAIT_S)
        done = settle(gateway, wanted)
    except (ServiceKeyError, OSError, ValueError) as error:
        sys.exit(f"service keys: {error}")
    print("service keys: " + ", ".join(f"{alias} {state}" for alias, state in done.items()))


if __name__ == "__main__":
    main()
