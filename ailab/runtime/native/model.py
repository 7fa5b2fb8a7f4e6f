"""The native plan: which programs run, as plain data that a supervisor needs nothing else to act on.

It holds no secret's value: an environment entry names the variable of .env that it is taken from when the program starts.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

# Where a provider's folder goes, in any string of the plan; known only once it is installed.
PROVIDER = "%{{provider:{}}}"


@dataclass(frozen=True)
class Probe:
    """A probe with Kubernetes' numbers, in seconds and counts."""

    kind: Literal["http", "tcp", "exec"]
    port: int = 0
    path: str = "/"
    scheme: str = "HTTP"
    headers: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    initial_delay: float = 0
    period: float = 10
    timeout: float = 1
    successes: int = 1
    failures: int = 3


@dataclass(frozen=True)
class EnvEntry:
    """One variable: a value in which $(OTHER) is expanded, or the name of a secret in .env."""

    name: str
    value: str = ""
    secret: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Container:
    """One program of a pod."""

    name: str
    argv: list[str]
    env: list[EnvEntry]
    providers: list[str]
    path: list[str] = field(default_factory=list)
    not_root: bool = False
    stop_signal: str = "SIGTERM"
    post_start: list[str] = field(default_factory=list)
    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None
    memory_limit_mb: float = 0


@dataclass(frozen=True)
class File:
    """A file that is written before the pod starts; path relative to the pod's folder."""

    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True)
class Pod:
    """What one workload becomes on this machine.

    Attributes:
        address: the Service's loopback address, to which its programs bind.
        ports: all ports that its containers declare.
        folders: made before it starts; absolute.
        files: written before it starts.
        checksum: changes when, and only when, the pod must be replaced.
    """

    name: str
    address: str
    ports: list[int]
    first: bool
    requires: list[str]
    init: list[Container]
    containers: list[Container]
    folders: list[str]
    files: list[File]
    grace: float
    urls: list[str]
    checksum: str = ""


@dataclass(frozen=True)
class Plan:
    """The whole lab on this machine.

    Attributes:
        lab: a name that marks this lab's processes; the same for every plan of one folder.
        inputs: digest of the files that it was made from.
        providers: what the installer is given, by provider name.
        secrets: path of .env.
        missing: services that cannot run here, with the reason.
    """

    lab: str
    root: str
    state: str
    inputs: str
    secrets: str
    python: str
    uv: str
    store: str
    cache: str
    parallel_starts: int
    log_bytes: int
    log_files: int
    providers: dict[str, dict[str, Any]]
    pods: list[Pod]
    missing: dict[str, str] = field(default_factory=dict)


def dump(plan: Plan) -> str:
    """The plan as JSON."""
    return json.dumps(dataclasses.asdict(plan), ensure_ascii=False)


def load(text: str) -> Plan:
    """The plan back from its JSON.

    Raises:
        ValueError: when it is no plan of this version.
    """
    try:
        return _build(Plan, json.loads(text))  # type: ignore[no-any-return]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a plan of this version: {error}") from error


def _build(cls: Any, data: Any) -> Any:
    origin, args = get_origin(cls), get_args(cls)
    if origin is list and dataclasses.is_dataclass(args[0]):
        return [_build(args[0], d) for d in data]
    if type(None) in args and data is not None:
        return _build(args[0], data)
    if isinstance(cls, type) and dataclasses.is_dataclass(cls) and data is not None:
        hints = get_type_hints(cls)
        return cls(**{k: _build(hints[k], v) for k, v in data.items()})
    return data
