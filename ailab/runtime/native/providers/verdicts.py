"""What a tool's last lines mean, in the lab's words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ailab.runtime.native.providers.errors import MOVE_STORE, SourceError, StoreError

_FULL = re.compile(r"no space left on device|ENOSPC|os error 28|disk quota exceeded", re.IGNORECASE)
# The first that is found is taken, so the particular stand before the general.
_MEANINGS = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (
            r"no such host|dns error|could not resolve|failed to lookup address|ENOTFOUND|EAI_AGAIN"
            r"|temporary failure (in name resolution|resolving)|name or service not known",
            "its registry's name can't be resolved (no network, or no DNS: check the connection and HTTPS_PROXY)",
        ),
        (
            r"certificate|unknownissuer|x509:|self.signed",
            "its registry's certificate isn't trusted here (set SSL_CERT_FILE to your authority's)",
        ),
        (
            r"connection refused|ECONNREFUSED",
            "its registry refused the connection (check the network and HTTPS_PROXY)",
        ),
        (
            r"hash mismatch|EINTEGRITY|checksum mismatch|security error",
            "what came isn't what the lock says (a broken or changed download; it was not used)",
        ),
        (r"\b407 |E407|code:? 407", "the proxy wants a password (put it in HTTPS_PROXY)"),
        (
            r"\b40[13] (forbidden|unauthorized)|\bE40[13]\b|(error|code|status):? \(?40[13]\b",
            "its registry refused the request (check the index settings, the proxy and the firewall)",
        ),
        (
            r"timed? ?out|ETIMEDOUT|ESOCKETTIMEDOUT|i/o timeout|deadline exceeded",
            "its registry did not answer in time (check the network, or try again)",
        ),
        (
            r"network is unreachable|ENETUNREACH|EHOSTUNREACH|no route to host",
            "its registry can't be reached (check the network)",
        ),
    )
)


class Failed(SourceError):
    """A tool ended with an error; `tail` is what it said last."""

    def __init__(self, reason: str, tail: Sequence[str]) -> None:
        super().__init__(reason)
        self.tail = "\n".join(tail)


def verdict(what: str, code: int, tail: Sequence[str], *, network: bool) -> Failed | StoreError:
    """The error that a tool's end is.

    Args:
        what: names the tool and its task: "uv: installing litellm".
        code: as a shell counts: 128 and more are signals.
        network: whether it used one; a build step doesn't, and what it says is shown whole.
    """
    if full := next((line for line in tail if _FULL.search(line)), None):
        return StoreError(f"the disk is full ({what}; it said: {full.strip()})", MOVE_STORE)
    for pattern, meaning in _MEANINGS if network else ():
        for line in tail:
            if pattern.search(line):
                return Failed(f"{what}: {meaning}; it said: {line.strip()}", tail)
    ended = f"was killed by signal {code - 128}" if code > 128 else f"ended with {code}"
    said = "".join(f"\n    {line}" for line in tail) if tail else " nothing"
    return Failed(f"{what} {ended} and said last:{said}", tail)
