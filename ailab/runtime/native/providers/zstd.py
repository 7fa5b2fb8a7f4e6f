"""Reads zstd, which Python knows from 3.14 on: with the C library that Debian's and Ubuntu's own package tools need."""

from __future__ import annotations

import ctypes
import io
import sys
from pathlib import Path
from typing import IO

from ailab.runtime.native.providers.errors import SourceError

_LIBRARY = "libzstd.so.1"


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer, which are alike: https://facebook.github.io/zstd/doc/api_manual_latest.html"""

    _fields_ = (("at", ctypes.c_void_p), ("size", ctypes.c_size_t), ("used", ctypes.c_size_t))


class _Reader(io.RawIOBase):
    """What a zstd file holds, from its beginning to its end."""

    def __init__(self, path: Path, library: ctypes.CDLL) -> None:
        self._library = library
        self._file = path.open("rb", buffering=0)
        self._stream = ctypes.c_void_p(library.ZSTD_createDStream())
        self._chunk = ctypes.create_string_buffer(1 << 17)
        self._input = _Buffer(ctypes.addressof(self._chunk), 0, 0)
        # Nonzero: a frame has begun and not ended.
        self._open = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: bytearray | memoryview) -> int:  # type: ignore[override]
        view = (ctypes.c_char * len(target)).from_buffer(target)
        output = _Buffer(ctypes.addressof(view), len(target), 0)
        while output.used == 0 and len(target):
            if self._input.used == self._input.size:
                self._input.size = self._file.readinto(self._chunk) or 0
                self._input.used = 0
                if self._input.size == 0:
                    if self._open:
                        raise EOFError("it ends in the middle")
                    return 0
            self._open = self._library.ZSTD_decompressStream(self._stream, ctypes.byref(output), ctypes.byref(self._input))
            if self._library.ZSTD_isError(ctypes.c_size_t(self._open)):
                raise ValueError("its zstd is broken")
        return int(output.used)

    def close(self) -> None:
        if not self.closed:
            self._library.ZSTD_freeDStream(self._stream)
            self._file.close()
        super().close()


def opened(path: Path) -> IO[bytes]:
    """The file's contents as a stream that can't be sought.

    Raises:
        SourceError: this machine has nothing that reads zstd.
    """
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.open(path, "rb")
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise SourceError(f"{_LIBRARY} is not on this machine (apt install libzstd1, or Python 3.14)") from None
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    return io.BufferedReader(_Reader(path, library), 1 << 17)
