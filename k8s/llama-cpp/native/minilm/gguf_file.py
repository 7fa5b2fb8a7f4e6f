"""Writing a GGUF file: the header, the facts about a model, then its tensors.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ALIGNMENT = 32
VERSION = 3
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9

Value = bool | int | float | str | Sequence[int] | Sequence[str]


@dataclass(frozen=True)
class Tensor:
    """A tensor that is yet to be written: its rows come first in `shape`, as numpy counts."""

    name: str
    shape: tuple[int, ...]
    half: bool
    chunks: Callable[[], Iterator[bytes]]

    @property
    def size(self) -> int:
        count = 1
        for length in self.shape:
            count *= length
        return count * (2 if self.half else 4)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<IB", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if value and isinstance(value[0], str):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(_string(str(item)) for item in value)
    return struct.pack(f"<IIQ{len(value)}i", ARRAY, INT32, len(value), *value)


def _padding(size: int) -> bytes:
    return bytes(-size % ALIGNMENT)


def write(file: BinaryIO, facts: Mapping[str, Value], tensors: Sequence[Tensor]) -> None:
    head = [b"GGUF", struct.pack("<IQQ", VERSION, len(tensors), len(facts))]
    head += [_string(key) + _value(value) for key, value in facts.items()]
    offset = 0
    for tensor in tensors:
        lengths = tuple(reversed(tensor.shape))
        head.append(_string(tensor.name))
        head.append(struct.pack(f"<I{len(lengths)}QIQ", len(lengths), *lengths, int(tensor.half), offset))
        offset += tensor.size + len(_padding(tensor.size))
    header = b"".join(head)
    file.write(header + _padding(len(header)))
    for tensor in tensors:
        for chunk in tensor.chunks():
            file.write(chunk)
        file.write(_padding(tensor.size))


def write_path(path: Path, facts: Mapping[str, Value], tensors: Sequence[Tensor]) -> None:
    """A file that is whole or absent, also when the machine stops in the middle."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        write(file, facts, tensors)
    unfinished.replace(path)
