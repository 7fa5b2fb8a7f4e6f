"""Who holds a port that a pod needs: asked before its programs start, as their own words for it differ and name nobody."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from ailab.runtime.native.process import pids

_LISTENS = "0A"


class Taken(Exception):
    """A port is held by a process that is none of the pod's; its text names place, cause and way out."""


def require(address: str, ports: list[int]) -> None:
    """Return when all these TCP ports are free.

    Raises:
        Taken: naming the first that isn't, and its holder.
    """
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                # Whatever else is wrong with it, the program will say better.
                if error.errno == errno.EADDRINUSE:
                    holder, everywhere = _holder(address, port)
                    if everywhere and address != "127.0.0.1":
                        way_out = "it listens on every address: let it listen on 127.0.0.1 alone, or end it"
                    else:
                        way_out = f"end it, or choose another {'port' if address == '127.0.0.1' else 'network'} in lab.toml"
                    raise Taken(f"{address}:{port} is held by {holder} ({way_out})") from None


def _holder(address: str, port: int) -> tuple[str, bool]:
    """Who listens there, and whether on every address."""
    found = _sockets(address, port)
    everywhere = any(found.values())
    inodes = {f"socket:[{inode}]" for inode in found}
    for pid in pids() if inodes else []:
        with contextlib.suppress(OSError):
            if any(os.readlink(f"/proc/{pid}/fd/{handle}") in inodes for handle in os.listdir(f"/proc/{pid}/fd")):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                return f"process {pid} ({name})", everywhere
    return "a process of another user", everywhere


def _sockets(address: str, port: int) -> dict[str, bool]:
    """Inode numbers of the sockets that listen there, and whether each does so on all addresses."""
    own = int.from_bytes(socket.inet_aton(address), "little")
    hosts = {f"{own:08X}", "0" * 8, "0" * 32, f"{'0' * 16}FFFF0000{own:08X}", f"{'0' * 16}FFFF0000{'0' * 8}"}
    found = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                host, _, number = fields[1].partition(":")
                if fields[3] == _LISTENS and host in hosts and int(number, 16) == port:
                    found[fields[9]] = _is_everywhere(host)
    return found


def _is_everywhere(host: str) -> bool:
    """Whether an address of /proc/net/tcp or tcp6 is the wildcard, its form of IPv4 in IPv6 included."""
    return not host.rpartition("FFFF0000")[2].strip("0")
