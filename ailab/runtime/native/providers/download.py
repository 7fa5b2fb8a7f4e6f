"""Fetches one file by its sha256 into the cache: resumed, tried again within bounds, verified."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ailab.runtime.native.providers.connections import Connections, place
from ailab.runtime.native.providers.errors import SourceError, of_the_system
from ailab.runtime.native.providers.locks import held
from ailab.runtime.native.providers.progress import Budget, Progress
from ailab.runtime.native.providers.store import need_space
from ailab.runtime.native.providers.web import (
    CHECK_NETWORK,
    Again,
    TooLong,
    get,
    is_final,
    network_reason,
)

# Before each try; the first is at once.
_PAUSES_S = (0.0, 0.5, 1.0, 2.0)
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Fetcher:
    """Fetches files into one cache; threads may share one.

    Attributes:
        total: bytes of all files that it is to fetch, if they are one download to whoever watches.
        headers: what the server wants to see of us.
        slow: bytes that must come within slow_s, or the connection counts as broken: a trickle would hold
            the install until its time is up.
    """

    cache: Path
    budget: Budget
    progress: Progress
    total: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    slow: int = 20_000
    slow_s: float = 20.0
    silence_s: float = 30.0
    pauses_s: Sequence[float] = _PAUSES_S
    connections: Connections = field(default_factory=Connections)

    def close(self) -> None:
        """Ends the downloads that still run."""
        self.connections.close()

    def fetch(self, url: str, sha256: str) -> Path:
        """The file with this sha256: from the cache, else from the address.

        Raises:
            SourceError: it can't be had, or isn't what it should be.
            StoreError: the cache can't be written.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise SourceError(f"{place(url)}: {sha256!r} is no sha256 (64 hex digits)")
        if found := cached(self.cache, sha256):
            return found
        whole = place_of(self.cache, sha256)
        locks = self.cache / ".locks"
        try:
            whole.parent.mkdir(parents=True, exist_ok=True)
            locks.mkdir(exist_ok=True)
            # Two installs may want one file: the second finds it done.
            with held(locks / f"{sha256[:2]}.lock", self.budget):
                return cached(self.cache, sha256) or self._verified(url, sha256, whole)
        except OSError as error:
            raise of_the_system(error, self.cache) or error from None

    def text(self, url: str, limit: int = 1 << 20) -> str:
        """A small text, like a list of checksums."""
        reason = ""
        for pause in self.pauses_s:
            self.budget.wait(pause)
            try:
                with get(self.connections, url, self.headers, self.budget.left(self.silence_s)) as answer:
                    return answer.read(limit).decode(errors="replace")
            except (Again, TooLong) as error:
                reason = str(error)
            except (OSError, http.client.HTTPException) as error:
                reason = network_reason(error, url, self.silence_s)
                if is_final(error):
                    break
        raise SourceError(reason)

    def _verified(self, url: str, sha256: str, whole: Path) -> Path:
        """Downloads the file; what isn't what it should be is thrown away and fetched once more."""
        got = ""
        part = whole.with_suffix(".part")
        for _ in range(2):
            with part.open("ab") as file:
                got = self._downloaded(url, file)
            if got == sha256:
                return part.rename(whole)
            self.progress.more(place(url), -part.stat().st_size, self.total)
            part.unlink()
        raise SourceError(
            f"{place(url)}: its sha256 is {got[:12]}… but should be {sha256[:12]}…, twice; it was thrown away "
            "(a proxy that changes downloads, or a release that was replaced: compare with the vendor's)"
        )

    def _downloaded(self, url: str, file: IO[bytes]) -> str:
        """Fetches what is missing of the file; returns its sha256."""
        reason, tries = "", 0
        for pause in self.pauses_s:
            tries += 1
            self.budget.wait(pause)
            have = file.seek(0, 2)
            try:
                headers = {**self.headers, "Range": f"bytes={have}-"} if have else self.headers
                with get(self.connections, url, headers, self.budget.left(self.silence_s)) as answer:
                    if have and answer.status != 206:
                        have = file.truncate(0)
                    self._stream(answer, url, file, have)
                return digest(Path(file.name))
            except TooLong:
                # An install that was killed just before its end leaves a whole file; anything else is begun anew.
                self.progress.more(place(url), have, self.total)
                return digest(Path(file.name))
            except Again as error:
                reason = str(error)
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and of_the_system(error, Path(file.name)):
                    raise
                reason = network_reason(error, url, self.silence_s)
                if is_final(error):
                    break
        raise SourceError(f"{reason}; {tries} tries" if tries > 1 else reason)

    def _stream(self, answer: http.client.HTTPResponse, url: str, file: IO[bytes], have: int) -> None:
        length = answer.headers.get("Content-Length", "")
        missing = int(length) if length.isdigit() else None
        if missing:
            need_space(self.cache, missing, f"downloading {place(url)}")
        total = self.total
        if total is None:
            total = have + missing if missing is not None else None
            self.progress.restart()
            self.progress.more(place(url), have, total)
        got, window, since = 0, 0, time.monotonic()
        while chunk := answer.read1(_CHUNK):
            self.budget.left()
            file.write(chunk)
            got, window = got + len(chunk), window + len(chunk)
            self.progress.more(place(url), len(chunk), total)
            now = time.monotonic()
            if now - since >= self.slow_s:
                if window < self.slow:
                    raise Again(f"{place(url)}: only {window} bytes came in {now - since:.0f} s ({CHECK_NETWORK})")
                window, since = 0, now
        file.flush()
        if missing is not None and got < missing:
            raise Again(f"{place(url)}: the connection ended after {have + got} of {have + missing} bytes ({CHECK_NETWORK})")


def place_of(cache: Path, sha256: str) -> Path:
    """Where the cache keeps the file of this sha256."""
    return cache / "sha256" / sha256


def cached(cache: Path, sha256: str) -> Path | None:
    """The file, if the cache has it and it still is what it was."""
    path = place_of(cache, sha256)
    try:
        if digest(path) == sha256:
            return path
        path.unlink()
    except FileNotFoundError:
        pass
    return None


def digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
