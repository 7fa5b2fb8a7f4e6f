"""Who holds a port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ailab.runtime.native import ports
from ailab.runtime.native.ports import Taken, require

ADDRESS = "127.122.0.2"


def own_name() -> str:
    return Path(f"/proc/{os.getpid()}/comm").read_text().strip()


def test_free_ports() -> None:
    require(ADDRESS, [18831, 18832])
    require(ADDRESS, [])


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, ADDRESS), (socket.AF_INET6, f"::ffff:{ADDRESS}")])
def test_the_holder_is_named(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, 18833))
        held.listen()
        with pytest.raises(Taken) as error:
            require(ADDRESS, [18831, 18833])
    assert str(error.value) == f"{ADDRESS}:18833 is held by process {os.getpid()} ({own_name()}) (end it, or choose another network in lab.toml)"
    require(ADDRESS, [18833])


@pytest.mark.parametrize(
    ("host", "everywhere"),
    [("00000000", True), ("0" * 32, True), ("0000000000000000FFFF000000000000", True), ("0200007F", False), ("0000000000000000FFFF00000200007F", False)],
)
def test_who_listens_on_every_address_is_known(host: str, everywhere: bool) -> None:
    """By the kernel's own notation: a test of ours listens on loopback alone."""
    assert ports._is_everywhere(host) is everywhere


def test_who_listens_on_every_address_is_told_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_is_everywhere", lambda _: True)
    with socket.socket() as held:
        held.bind((ADDRESS, 18841))
        held.listen()
        with pytest.raises(Taken, match=r"\(it listens on every address: let it listen on 127\.0\.0\.1 alone, or end it\)$"):
            require(ADDRESS, [18841])


def test_the_edges_port_is_chosen_by_itself() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 18834))
        held.listen()
        with pytest.raises(Taken, match=r"^127\.0\.0\.1:18834 is held by .* choose another port in lab\.toml\)$"):
            require("127.0.0.1", [18834])


def test_another_address_is_no_conflict() -> None:
    with socket.socket() as held:
        held.bind(("127.122.0.3", 18835))
        held.listen()
        require(ADDRESS, [18835])


def test_connections_that_just_ended_are_none(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((ADDRESS, 18841))
        server.listen()
        with socket.create_connection((ADDRESS, 18841)) as client:
            accepted, _ = server.accept()
            accepted.close()
            assert client.recv(1) == b""
    require(ADDRESS, [18841])
