"""Which sockets a set of processes listens on, from /proc."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import sys
from pathlib import Path

from ailab.runtime.native.process import tree

_TCP_LISTEN = "0A"


def listeners(leaders: list[int]) -> list[tuple[str, int, bool]]:
    """Every TCP and UDP socket on which the processes of these sessions can be reached.

    Returns:
        address:port, process id, and whether the address is loopback.
    """
    found = set()
    for pid in tree(leaders) | set(leaders):
        sockets = _sockets(pid)
        for table in ("tcp", "tcp6", "udp", "udp6") if sockets else ():
            # The process' own view: it may live in a network namespace of its own.
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    unconnected = fields[2].endswith(":0000")
                    if fields[9] in sockets and (fields[3] == _TCP_LISTEN if table.startswith("tcp") else unconnected):
                        address, _, port = fields[1].partition(":")
                        ip = _address(address)
                        found.add((f"{ip}:{int(port, 16)}", pid, ip.is_loopback))
    return sorted(found)


def _sockets(pid: int) -> set[str]:
    """The inode numbers of a process' sockets."""
    found = set()
    with contextlib.suppress(OSError):
        for handle in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(handle.path)):
                    found.add(match[1])
    return found


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel prints addresses as words of the machine's own byte order."""
    raw = b"".join(int(text[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(text), 8))
    address = ipaddress.ip_address(raw)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
