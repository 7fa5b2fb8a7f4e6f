"""What can go wrong while a provider is made: every one is a sentence with place, cause and way out."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from pathlib import Path

MOVE_STORE = "free some space, or move the store: AILAB_STORE=/another/disk/store"
_PASSWORD = re.compile(r"(?<=://)[^/@\s\"']+@")


def scrub(text: str) -> str:
    """The text without the user and password of any address in it: proxies and private indexes carry them."""
    return _PASSWORD.sub("", text)


class BadSpec(ValueError):
    """native.toml or a lock is wrong: no other source is tried, or a mistake in the repository would stay hidden."""


class SourceError(Exception):
    """This source can't be had on this machine; the next one is tried."""


class StoreError(Exception):
    """The store or the download cache can't be written: no source would fare better."""

    def __init__(self, reason: str, way_out: str) -> None:
        super().__init__(f"{reason} ({way_out})")
        self.reason = reason
        self.way_out = way_out


class Stopped(BaseException):
    """SIGTERM or SIGINT: clean up and go. Like KeyboardInterrupt, no `except Exception` may catch it."""


class InstallError(Exception):
    """The provider could not be made.

    Attributes:
        reason: the cause in a sentence.
        way_out: what to do.
        tried: (kind, reason) of each source that was tried, in order.
    """

    def __init__(self, reason: str, way_out: str, tried: Sequence[tuple[str, str]] = ()) -> None:
        self.reason = scrub(reason)
        self.way_out = scrub(way_out)
        self.tried = tuple((kind, scrub(text)) for kind, text in tried)
        super().__init__("\n".join([f"{self.reason} ({self.way_out})", *(f"  {k}: {t}" for k, t in self.tried)]))


def megabytes(count: float) -> str:
    """Bytes for people: whole megabytes, never 0 for something."""
    return f"{max(1, round(count / 1e6))} MB"


def of_the_system(error: OSError, place: Path) -> StoreError | None:
    """The StoreError that a failed write below `place` means, if it is one."""
    at = error.filename or place
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return StoreError(f"{place}: the disk is full", MOVE_STORE)
        case errno.EROFS:
            return StoreError(f"{at}: the file system is read-only", "set AILAB_STORE to a folder that can be written")
        case errno.EACCES | errno.EPERM:
            return StoreError(f"{at}: this user may not write here", "make the folder yours, or set AILAB_STORE to one that is")
        case errno.ENOTDIR | errno.EEXIST:
            return StoreError(f"{at}: a file stands where a folder is needed", "move it away, or set AILAB_STORE")
    return None
