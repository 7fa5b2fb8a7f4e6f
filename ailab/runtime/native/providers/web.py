"""Opens an address of the web; what fails is told as a sentence."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from urllib.parse import urlsplit

from ailab.runtime.native.providers.connections import Connections, place, proxy_of
from ailab.runtime.native.providers.errors import SourceError, scrub

CHECK_NETWORK = "check the network, HTTPS_PROXY and the firewall"
_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class Again(Exception):
    """This try failed; the next one may not."""


class TooLong(Exception):
    """What is there of the file already is as long as the file, or longer."""


@contextmanager
def get(connections: Connections, url: str, headers: Mapping[str, str], timeout: float) -> Iterator[http.client.HTTPResponse]:
    """Yields the answer that brings what was asked for.

    Raises:
        SourceError: a no that is final.
        Again: a no that may pass.
        TooLong: the asked range lies behind the file's end.
        OSError, HTTPException: `network_reason` has the sentence.
    """
    with connections.opened(url, headers, timeout) as answer:
        if answer.status == 416:
            raise TooLong
        if answer.status not in (200, 206):
            reason = f"{place(url)}: {_http_reason(answer.status, answer.headers)}"
            raise Again(reason) if answer.status in _AGAIN else SourceError(reason)
        yield answer


def network_reason(error: Exception, url: str, silence_s: float) -> str:
    """The sentence for what failed below HTTP."""
    proxy = proxy_of(url)
    host = urlsplit(url).netloc.rpartition("@")[2] + (f" through the proxy {scrub(proxy)}" if proxy else "")
    if isinstance(error, socket.gaierror):
        return f"{host}: the name can't be resolved (no network, or no DNS: check the connection and HTTPS_PROXY)"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{host}: its certificate isn't trusted here (set SSL_CERT_FILE to your authority's)"
    if isinstance(error, TimeoutError):
        return f"{place(url)}: no answer within {silence_s:g} s ({CHECK_NETWORK})"
    if isinstance(error, ConnectionRefusedError):
        return f"{host}: the connection was refused ({CHECK_NETWORK})"
    if "Tunnel connection failed: 407" in str(error):
        return f"{host}: the proxy wants a password (407; put it in HTTPS_PROXY)"
    return f"{place(url)}: {scrub(str(error)) or type(error).__name__} ({CHECK_NETWORK})"


def is_final(error: Exception) -> bool:
    """Whether trying again at once is vain: there is no such name, nobody listens, or the certificate is wrong."""
    if isinstance(error, socket.gaierror):
        return error.errno != socket.EAI_AGAIN
    return isinstance(error, (ConnectionRefusedError, ssl.SSLCertVerificationError))


def _http_reason(code: int, headers: Message) -> str:
    match code:
        case 401 | 403:
            return f"the server refused it ({code}; {CHECK_NETWORK})"
        case 404 | 410:
            return f"there is no such file ({code}; the release was moved, or the version in native.toml is wrong)"
        case 407:
            return "the proxy wants a password (407; put it in HTTPS_PROXY)"
        case 429:
            after = headers.get("Retry-After", "")
            return f"too many requests (429; try again {f'in {after} s' if after.isdigit() else 'later'})"
        case _:
            return f"the server answered {code} (try again later)"
