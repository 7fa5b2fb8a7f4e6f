"""The list of checks for a lab: which promises its definition makes."""

from __future__ import annotations

import socket
from functools import partial
from itertools import permutations

import psycopg

from ailab.checks import chat
from ailab.checks.base import Check, Failure, Lab
from ailab.checks.sockets import listeners
from ailab.definition.crosschecks import service_ports
from ailab.render.routes import active_routes

_ROLES = {"litellm": "litellm", "open_webui": "open-webui", "phoenix": "phoenix", "grafana": "grafana"}


def checks_for(lab: Lab) -> list[Check]:
    """All checks, in the order in which they are run."""
    on = [s for s in lab.definition.services if lab.is_on(s)]
    checks = [Check(f"port-{s}", partial(_port, s)) for s in on if s in service_ports(lab.definition)]
    checks += [Check(f"edge-{s}", partial(_edge, s), after=f"port-{s}") for s in sorted(lab.hosts) if s in on]
    if lab.is_on("litellm"):
        checks += [Check("gateway-models", chat.models), Check("chat", chat.chat)]
        if any(r.model_info.get("mode") == "embedding" for r in active_routes(lab.definition)):
            checks.append(Check("embedding", chat.embedding))
        if lab.is_on("phoenix"):
            checks.append(Check("span", chat.span, after="chat"))
        if lab.is_on("prometheus"):
            checks.append(Check("counted", chat.counted, after="chat"))
        if lab.is_on("postgresql"):
            checks.append(Check("spend-row", chat.spend, after="chat"))
        if lab.is_on("open-webui"):
            checks.append(Check("open-webui-chat", chat.web_ui))
    if lab.is_on("postgresql"):
        checks.append(Check("roles-apart", _roles))
    if lab.leaders:
        checks.append(Check("loopback-only", _loopback))
    return checks


def _port(service: str, lab: Lab) -> str:
    """Every port of the Service takes a connection."""
    ports = sorted(service_ports(lab.definition)[service])
    for port in ports:
        try:
            socket.create_connection((lab.addresses[service], port), timeout=5).close()
        except OSError as error:
            where = f"{lab.addresses[service]}:{port}"
            raise Failure(f"{where}: {error.strerror or error}", f"./lab logs {service}") from None
    return " ".join(f"{lab.addresses[service]}:{p}" for p in ports)


def _edge(service: str, lab: Lab) -> str:
    """The edge serves the service under its host name."""
    host = lab.hosts[service]
    lab.http("GET", f"http://{lab.edge}/", headers={"Host": f"{host}:{lab.edge.rpartition(':')[2]}"}, timeout=30)
    return host


def _roles(lab: Lab) -> str:
    """No service's database role can open the database of another."""
    roles = [r for r, s in _ROLES.items() if lab.is_on(s)]
    for role in roles:
        try:
            psycopg.connect(chat.dsn(lab, role), connect_timeout=5).close()
        except psycopg.Error as error:
            raise Failure(f"role {role} cannot open its own database: {_first_line(error)}", "./lab restart postgresql") from None
    for role, other in permutations(roles, 2):
        try:
            psycopg.connect(chat.dsn(lab, role, other), connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if "permission denied for database" in str(error):
                continue
            raise Failure(f"whether role {role} can open {other} is not known: {_first_line(error)}", "./lab logs postgresql") from None
        raise Failure(f"role {role} can open the database of {other}", f"REVOKE CONNECT ON DATABASE {other} FROM PUBLIC, {role}")
    return f"{len(roles)} roles, none sees another's data"


def _loopback(lab: Lab) -> str:
    """No process of the lab listens on an address that others could reach."""
    found = listeners(lab.leaders)
    if outside := [f"{where} (process {pid})" for where, pid, inside in found if not inside]:
        raise Failure(f"listening outside loopback: {', '.join(outside)}", "bind it to its Service's address in native.toml")
    if not found:
        raise Failure("no listening socket of the lab was found", "run the check as the user who runs the lab")
    return f"{len(found)} sockets"


def unpinned(lab: Lab) -> list[str]:
    """Images in use whose digest is not known yet."""
    return sorted(image for image, digest in lab.definition.digests.items() if not digest)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
