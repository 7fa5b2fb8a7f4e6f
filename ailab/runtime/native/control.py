"""The way to a lab's supervisor: a socket in the lab's folder, one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "control.sock"


class Down(Exception):
    """No supervisor runs for this lab."""


class Refused(Exception):
    """The supervisor answered with an error, or is another user's."""


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """The socket's path through a descriptor of its folder: a socket's path may have 107 characters, a folder's more."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{NAME}"
    finally:
        os.close(handle)


def bind(state: Path) -> socket.socket:
    """The listening socket; only its owner may connect."""
    folder = state / "run"
    folder.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    (folder / NAME).unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        with _short(folder) as path:
            listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(64)
    listener.setblocking(False)
    return listener


class Connection:
    """One connection to the supervisor of a lab."""

    def __init__(self, state: Path, timeout: float | None = 60) -> None:
        """Connect.

        Args:
            state: the lab's state folder.
            timeout: bound of every wait, in seconds.

        Raises:
            Down: nobody listens.
            Refused: another user's lab.
        """
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            with _short(state / "run") as path:
                self._socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            self._socket.close()
            raise Down from None
        except PermissionError:
            self._socket.close()
            raise Refused(f"{state}: the lab is another user's (only who started it may speak to it)") from None
        self._buffer = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, op: str, **values: Any) -> dict[str, Any]:
        """One request, one answer.

        Raises:
            Refused: the supervisor says why.
            Down: it ended meanwhile.
        """
        self.send(op, **values)
        return self.receive()

    def send(self, op: str, **values: Any) -> None:
        """Send a request."""
        try:
            self._socket.sendall(json.dumps({"op": op, **values}).encode() + b"\n")
        except ConnectionError:
            raise Down from None

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """The next answer.

        Raises:
            TimeoutError: none came in time.
        """
        if timeout is not None:
            self._socket.settimeout(timeout)
        while b"\n" not in self._buffer:
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionError:
                raise Down from None
            if not data:
                raise Down
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer
