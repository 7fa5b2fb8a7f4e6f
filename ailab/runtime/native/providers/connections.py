"""HTTP over connections that stay open: 200 jars take 200 requests, and need no more name look-ups and handshakes than threads."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ailab.runtime.native.providers.errors import SourceError, scrub

_REDIRECTS = 5
_MOVED = {301, 302, 303, 307, 308}


class Connections:
    """Connections to any servers, one a thread and server. Threads may share it."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str, str | None], http.client.HTTPConnection] = {}

    def close(self) -> None:
        """Ends all of them; a thread that waits for an answer gets an error."""
        for connection in list(self._known.values()):
            with suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    @contextmanager
    def opened(self, url: str, headers: Mapping[str, str], timeout: float) -> Iterator[http.client.HTTPResponse]:
        """Asks for an address, follows redirects, and yields the answer, whatever its status.

        Raises:
            SourceError: the address, or one that it leads to, is none that may be used.
            OSError, HTTPException: no answer came.
        """
        headers = {"User-Agent": "ailab", "Accept-Encoding": "identity", **headers}
        here = url
        for _ in range(_REDIRECTS + 1):
            parts = urlsplit(here)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise SourceError(f"{place(here)}: is no address of the web (https://…)")
            connection, answer = self._ask(parts, headers, timeout)
            try:
                there = answer.headers.get("Location")
                if answer.status not in _MOVED or not there:
                    yield answer
                    return
                answer.read(1 << 16)
            finally:
                if not answer.isclosed() and answer.length != 0:
                    # What is left of the answer would be read as the next one.
                    connection.close()
                answer.close()
            here, before = urljoin(here, there), here
            if before.startswith("https:") and here.startswith("http:"):
                raise SourceError(f"{place(before)}: sends us on to {place(here)}, which isn't encrypted")
            if urlsplit(here).netloc != parts.netloc:
                # Another server must not learn the password.
                headers.pop("Authorization", None)
        raise SourceError(f"{place(url)}: sends us on more than {_REDIRECTS} times, at last to {place(here)}")

    def _ask(self, parts: SplitResult, headers: Mapping[str, str], timeout: float) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        proxy = proxy_of(parts.geturl())
        connection = self._connection(parts, proxy)
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        if proxy and parts.scheme == "http":
            target = parts._replace(fragment="").geturl()
            headers = {**headers, **_proxy_password(proxy)}
        reused = connection.sock is not None
        while True:
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            try:
                connection.request("GET", target, headers=headers)
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # The server may have closed it since it was last used.
                if not reused or isinstance(error, TimeoutError):
                    raise
                reused = False

    def _connection(self, parts: SplitResult, proxy: str | None) -> http.client.HTTPConnection:
        """This thread's connection to a server, open or not."""
        key = (threading.get_ident(), parts.scheme, parts.netloc, proxy)
        known = self._known
        if key not in known:
            via = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else parts
            host = via.hostname or ""
            if parts.scheme == "http":
                known[key] = http.client.HTTPConnection(host, via.port)
            else:
                known[key] = http.client.HTTPSConnection(host, via.port or (80 if proxy else 443), context=_certificates())
                if proxy:
                    known[key].set_tunnel(parts.hostname or "", parts.port or 443, _proxy_password(proxy))
        return known[key]


def place(url: str) -> str:
    """The address as it may be shown: no password, no query."""
    return scrub(url).partition("?")[0]


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def _proxy_password(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if not parts.username:
        return {}
    word = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(word.encode()).decode()}


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
    # Reading the authorities takes 25 ms of CPU, in each thread.
    return ssl.create_default_context(cafile=bundle)
