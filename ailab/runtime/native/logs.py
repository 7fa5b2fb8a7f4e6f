"""A container's log: whole lines with their time, no secret in them, moved aside when it has grown."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

# Longer lines go on in the next one, as a kubelet splits them.
LINE_LIMIT = 16_384
_SHORTEST_SECRET = 8


class Redactor:
    """Puts *** for the values of secrets, wherever they stand in a text."""

    def __init__(self, values: Iterable[str]) -> None:
        known = sorted({v for v in values if len(v) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub("***", text) if self._pattern else text


class Log:
    """Appends to one file and rotates it: name, name.1, … name.<files - 1>, the oldest dropped.

    A disk that takes no more loses lines, never the program that wrote them; the loss is noted once it can be.
    """

    def __init__(self, path: Path, limit: int, files: int, redact: Redactor) -> None:
        self.path, self.limit, self.files, self.redact = path, limit, files, redact
        self._rest, self._lost = b"", 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size

    def feed(self, data: bytes) -> None:
        """Take output as it comes; writes the lines that are whole."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LINE_LIMIT:
            lines.append(self._rest[:LINE_LIMIT])
            self._rest = self._rest[LINE_LIMIT:]
        for line in lines:
            for start in range(0, len(line) or 1, LINE_LIMIT):
                self.line(line[start : start + LINE_LIMIT].decode("utf-8", "replace").rstrip("\r"))

    def line(self, text: str) -> None:
        """Write one line with the time before it."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            if self._lost:
                self._write(f"{now} [{self._lost} lines are lost: the disk took no more]\n".encode())
                self._lost = 0
            self._write(f"{now} {self.redact(text)}\n".encode())
        except OSError:
            self._lost += 1

    def _write(self, data: bytes) -> None:
        if self._size and self._size + len(data) > self.limit:
            self._rotate()
        self._file.write(data)
        self._size += len(data)

    def _rotate(self) -> None:
        self._file.close()
        for n in range(self.files - 1, 0, -1):
            older = self.path if n == 1 else self.path.with_name(f"{self.path.name}.{n - 1}")
            with contextlib.suppress(FileNotFoundError):
                older.replace(self.path.with_name(f"{self.path.name}.{n}"))
        self._file = self.path.open("ab", buffering=0)
        self._size = 0

    def close(self) -> None:
        """Write what is left of an unfinished line and close."""
        if self._rest:
            self.line(self._rest.decode("utf-8", "replace"))
            self._rest = b""
        self._file.close()


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a log, over its rotated files, oldest first, without their times."""
    lines: list[str] = []
    for file in rotated(path):
        with contextlib.suppress(OSError):
            lines = [*file.read_text("utf-8", "replace").splitlines(), *lines]
        if len(lines) >= count:
            break
    return [text_of(line) for line in lines[-count:]] if count else []


def rotated(path: Path) -> Iterator[Path]:
    """The files of a log, newest first."""
    yield path
    for n in range(1, 100):
        older = path.with_name(f"{path.name}.{n}")
        if not older.exists():
            return
        yield older


def text_of(line: str) -> str:
    """A log line without its time."""
    return line.partition(" ")[2]
