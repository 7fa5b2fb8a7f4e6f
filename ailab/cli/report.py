"""The table of services, and what is said of those that are not ready."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Any

from ailab.cli.output import paint, table


def rows(status: dict[str, Any]) -> str:
    """One line a service: name, state, address, how fast it was ready, its memory."""
    head = ["SERVICE", "READY", "STATUS", "RESTARTS", "ADDRESS", "READY IN", "MEMORY"]
    lines = [_row(p) for p in status["pods"]]
    lines += [[name, "-", "Unavailable", "-", "-", "-", "-"] for name in status.get("missing", {})]
    return table([head, *lines], right=(3, 5, 6))


def _row(pod: dict[str, Any]) -> list[str]:
    address = pod["urls"][0] if pod["urls"] else " ".join(f"{pod['address']}:{port}" for port in pod["ports"])
    ready_in = f"{pod['ready_in']:.1f} s" if pod["ready_in"] is not None else "-"
    memory = f"{pod['memory_mb']:.0f} MB" if pod.get("memory_mb") else "-"
    return [pod["name"], pod["containers_ready"], pod["status"], str(pod["restarts"]), address, ready_in, memory]


def troubles(status: dict[str, Any]) -> list[str]:
    """For each service that is not ready: the reason, the last lines of its log, what to do; and who uses more memory than allowed."""
    found = []
    for pod in status["pods"]:
        if pod["ready"]:
            continue
        colour = "33" if pod["unavailable"] else "31"
        found.append(f"{paint(pod['name'], colour)}: {pod['status']}")
        found += _wrapped("why: ", pod["reason"])
        found += [f"    {line}" for line in pod.get("log", [])]
        again = "" if pod["unavailable"] else f"./lab logs {pod['name']} shows all of it; ./lab restart {pod['name']} tries again"
        found += _wrapped("what to do: ", pod.get("way_out") or again)
    found += [f"{paint(name, '33')}: {reason}" for name, reason in status.get("missing", {}).items()]
    for pod in status["pods"]:
        used, limit = pod.get("memory_mb") or 0, pod.get("memory_limit_mb") or 0
        if 0 < limit < used:
            found.append(f"{paint(pod['name'], '33')}: uses {used:.0f} MB, more than its manifest's limit of {limit:.0f} MB: on the server it would be killed")
    return found


def _wrapped(label: str, text: str) -> list[str]:
    """A paragraph below a service's name; on a terminal no wider than it and 120 columns, else one line for whoever searches in it."""
    if text and not sys.stdout.isatty():
        return [f"  {label}{text}"]
    width = min(shutil.get_terminal_size((120, 24)).columns, 120)
    return textwrap.wrap(text, width, initial_indent="  " + label, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


# After the fourth failure in a row the next try is most of a minute away.
_HOPELESS = 4


def settled(status: dict[str, Any], names: list[str] | None = None) -> bool:
    """Whether waiting is over, one way or the other, for all services or for some."""
    pods = {p["name"]: p for p in status["pods"]}
    return bool(pods) and all(_settled(p, pods) for n, p in pods.items() if names is None or n in names)


def _settled(pod: dict[str, Any], pods: dict[str, dict[str, Any]]) -> bool:
    if pod["ready"] or pod["unavailable"] or pod["status"] in ("ImagePullBackOff", "CreateContainerError"):
        return True
    if pod["restarts"] >= _HOPELESS and pod["status"] == "CrashLoopBackOff":
        return True
    other = pods.get(pod["reason"].removeprefix("for ")) if pod["status"] == "Waiting" else None
    return other is not None and not other["ready"] and _settled(other, pods)


def failed(status: dict[str, Any], names: list[str] | None = None) -> bool:
    """Whether something that this machine can run is not running."""
    return any(not p["ready"] and not p["unavailable"] for p in status["pods"] if names is None or p["name"] in names)
