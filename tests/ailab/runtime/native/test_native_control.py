"""The socket: for its owner alone, however long its folder's path, and errors that say who is at fault."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from ailab.runtime.native.control import NAME, Connection, Down, Refused, bind


def long_folder(tmp_path: Path) -> Path:
    folder = tmp_path / ("a folder with a long name " * 4) / ("and another one " * 6)
    folder.mkdir(parents=True)
    assert len(str(folder)) > 108
    return folder


def serve(listener: socket.socket, answers: list[bytes]) -> threading.Thread:
    """Accept one client; an answer for each of its lines, then hang up."""

    def run() -> None:
        with listener:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                for answer in answers:
                    lines.readline()
                    connection.sendall(answer)

    listener.setblocking(True)
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_long_path_with_spaces(tmp_path: Path) -> None:
    state = long_folder(tmp_path)
    thread = serve(bind(state), [b'{"a": 1}\n', b'{"b": "\xc3\xa4"}\n{"c"', b": 3}\n"])
    with Connection(state) as connection:
        assert connection.ask("one") == {"a": 1}
        assert connection.ask("two", value=[1]) == {"b": "ä"}
        assert connection.ask("three") == {"c": 3}
        with pytest.raises(Down):
            connection.receive()
    thread.join(10)


def test_only_its_owner_may_connect(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with bind(tmp_path):
            assert stat.S_IMODE((tmp_path / "run" / NAME).stat().st_mode) == 0o600
        assert os.umask(0) == 0, "the umask is as it was"
    finally:
        os.umask(old)


def test_a_socket_that_was_left_is_replaced(tmp_path: Path) -> None:
    bind(tmp_path).close()
    with pytest.raises(Down):
        Connection(tmp_path)
    thread = serve(bind(tmp_path), [b"{}\n"])
    with Connection(tmp_path) as connection:
        assert connection.ask("status") == {}
    thread.join(10)


def test_nobody_there(tmp_path: Path) -> None:
    for state in (tmp_path / "none", tmp_path):
        with pytest.raises(Down):
            Connection(state)
    (tmp_path / "run").write_text("a file")
    with pytest.raises(Down):
        Connection(tmp_path)


def test_an_error_is_the_supervisors(tmp_path: Path) -> None:
    thread = serve(bind(tmp_path), [json.dumps({"error": "OSError: no space"}).encode() + b"\n"])
    with Connection(tmp_path) as connection, pytest.raises(Refused, match=r"^OSError: no space$"):
        connection.ask("apply")
    thread.join(10)


def test_no_answer_in_time(tmp_path: Path) -> None:
    with bind(tmp_path), Connection(tmp_path) as connection:
        connection.send("status")
        with pytest.raises(TimeoutError):
            connection.receive(0.05)
