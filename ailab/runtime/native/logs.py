"""A container's log: whole lines with their time, no secret in them, moved aside when it has grown."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

# Longer lines go on in the next one, as a kubelet splits them.
LINE_LIMIT = 16_384
_SHORTEST_SECRET = 8
# More than the last lines of a log that anybody is shown.
_TAIL_BYTES = 1 << 18


class Redactor:
    """Puts *** for the values of secrets, wherever they stand in a text.

    Attributes:
        longest: bytes of the longest secret.
    """

    def __init__(self, values: Iterable[str]) -> None:
        known = sorted({v for v in values if len(v) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, known))) if known else None
        self._encoded = re.compile(b"|".join(re.escape(v.encode()) for v in known)) if known else None
        self.longest = max((len(v.encode()) for v in known), default=0)

    def __call__(self, text: str) -> str:
        return self._pattern.sub("***", text) if self._pattern else text

    def cut(self, data: bytes, limit: int) -> int:
        """Where to cut a long line: at the limit, or a little before it where a secret or a character would be torn."""
        if self._encoded:
            for match in self._encoded.finditer(data, max(0, limit - self.longest), limit + self.longest):
                if match.start() < limit < match.end():
                    return match.start() or match.end()
        while limit > 1 and data[limit : limit + 1] and data[limit] & 0xC0 == 0x80:
            limit -= 1
        return limit


class Log:
    """Appends to one file and rotates it: name, name.1, … name.<files - 1>, the oldest dropped.

    A disk that takes no more loses lines, never the program that wrote them; the loss is noted once it can be.
    """

    def __init__(self, path: Path, limit: int, files: int, redact: Redactor) -> None:
        self.path, self.limit, self.files, self.redact = path, limit, files, redact
        self._rest, self._lost, self._torn = b"", 0, False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        self._file = self.path.open("ab", buffering=0)
        self._size = self._file.tell()

    def feed(self, data: bytes) -> None:
        """Take output as it comes; writes the lines that are whole."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            while len(line) > LINE_LIMIT:
                line = self._part(line)
            self._text(line)
        # Only what lies a secret's length before the end is known to hold no beginning of one.
        while len(self._rest) > LINE_LIMIT + self.redact.longest:
            self._rest = self._part(self._rest)

    def flush(self) -> None:
        """Write what is left of a line that nobody will end."""
        if self._rest:
            self._text(self._rest)
            self._rest = b""

    def _part(self, line: bytes) -> bytes:
        end = self.redact.cut(line, LINE_LIMIT)
        self._text(line[:end])
        return line[end:]

    def _text(self, line: bytes) -> None:
        self.line(line.decode("utf-8", "replace").rstrip("\r"))

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
        if self._file.closed:
            self._open()
        if self._size and self._size + len(data) > self.limit:
            self._rotate()
        if self._torn:
            data = b"\n" + data
        written = self._file.write(data)
        self._size += written
        self._torn = written < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, "the disk took a part of the line", str(self.path))

    def _rotate(self) -> None:
        self._file.close()
        with contextlib.suppress(OSError):
            for n in range(self.files - 1, 0, -1):
                older = self.path if n == 1 else self.path.with_name(f"{self.path.name}.{n - 1}")
                with contextlib.suppress(FileNotFoundError):
                    older.replace(self.path.with_name(f"{self.path.name}.{n}"))
        self._open()

    def close(self) -> None:
        """Write what is left of an unfinished line and close."""
        self.flush()
        self._file.close()


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a log, over its rotated files, oldest first, without their times."""
    lines: list[str] = []
    for file in rotated(path):
        if len(lines) >= count:
            break
        with contextlib.suppress(OSError), file.open("rb") as opened:
            start = max(0, opened.seek(0, os.SEEK_END) - _TAIL_BYTES)
            opened.seek(start)
            found = lines_of(opened.read().decode("utf-8", "replace"))
            lines = [*found[1 if start else 0 :], *lines]
            if start:
                break
    return [text_of(line) for line in lines[-count:]] if count else []


def lines_of(text: str) -> list[str]:
    """The lines of a log. Not splitlines(): what a program prints may hold other line ends than the log's own."""
    return text.removesuffix("\n").split("\n") if text else []


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
