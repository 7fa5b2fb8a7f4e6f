"""Opens an address of the web with the machine's proxy and certificates; what fails is told as a sentence."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from functools import cache
from typing import IO
from urllib.parse import urlsplit

from ailab.runtime.native.providers.errors import SourceError, scrub

CHECK_NETWORK = "check the network, HTTPS_PROXY and the firewall"
_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class Again(Exception):
    """This try failed; the next one may not."""


class TooLong(Exception):
    """What is there of the file already is as long as the file, or longer."""


class _SameOrSafer(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise SourceError(f"{place(req.full_url)}: sends us on to {place(newurl)}, which isn't encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def get(url: str, headers: Mapping[str, str], timeout: float) -> http.client.HTTPResponse:
    """Opens an address.

    Raises:
        SourceError: a no that is final.
        Again: a no that may pass.
        TooLong: the asked range lies behind the file's end.
        OSError, HTTPException: `network_reason` has the sentence.
    """
    if not url.startswith(("https://", "http://")):
        raise SourceError(f"{place(url)}: is no address of the web (https://…)")
    request = urllib.request.Request(url, headers={"User-Agent": "ailab", "Accept-Encoding": "identity"})
    for name, value in headers.items():
        if name == "Authorization":
            # A redirect may lead to another server, which must not learn it.
            request.add_unredirected_header(name, value)
        else:
            request.add_header(name, value)
    opener = urllib.request.build_opener(_SameOrSafer, urllib.request.HTTPSHandler(context=_certificates()))
    try:
        answer: http.client.HTTPResponse = opener.open(request, timeout=timeout)
        return answer
    except urllib.error.HTTPError as error:
        # Without this, its socket stays open until the garbage collector comes.
        error.close()
        if error.code == 416:
            raise TooLong from None
        reason = f"{place(url)}: {_http_reason(error.code, error.headers)}"
        raise (Again if error.code in _AGAIN else SourceError)(reason) from None


def network_reason(error: Exception, url: str, silence_s: float) -> str:
    """The sentence for what failed below HTTP."""
    cause = _cause(error)
    host = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(cause, socket.gaierror):
        return f"{host}: the name can't be resolved (no network, or no DNS: check the connection and HTTPS_PROXY)"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{host}: its certificate isn't trusted here (set SSL_CERT_FILE to your authority's)"
    if isinstance(cause, TimeoutError):
        return f"{place(url)}: no answer within {silence_s:g} s ({CHECK_NETWORK})"
    if isinstance(cause, ConnectionRefusedError):
        return f"{host}: the connection was refused ({CHECK_NETWORK})"
    return f"{place(url)}: {scrub(str(cause)) or type(cause).__name__} ({CHECK_NETWORK})"


def is_final(error: Exception) -> bool:
    """Whether trying again at once is vain: there is no such name, nobody listens, or the certificate is wrong."""
    cause = _cause(error)
    if isinstance(cause, socket.gaierror):
        return cause.errno != socket.EAI_AGAIN
    return isinstance(cause, (ConnectionRefusedError, ssl.SSLCertVerificationError))


def place(url: str) -> str:
    """The address as it may be shown: no password, no query."""
    return scrub(url).partition("?")[0]


def _cause(error: Exception) -> Exception:
    wrapped = isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception)
    return error.reason if wrapped else error  # type: ignore[attr-defined]


def _certificates() -> ssl.SSLContext:
    """The machine's authorities; a file of them that is set for other tools counts here too."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    bundle = next((os.environ[name] for name in names if os.environ.get(name)), None)
    try:
        return _context(bundle)
    except OSError:
        raise SourceError(f"{bundle}: can't be read as certificates (SSL_CERT_FILE names it)") from None


@cache
def _context(bundle: str | None) -> ssl.SSLContext:
    # Reading the authorities takes 25 ms of CPU: too much for each of 200 jars.
    return ssl.create_default_context(cafile=bundle)


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
