"""Downloads from a web server that misbehaves."""

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ailab.runtime.native.providers.download import Fetcher, cached, place_of
from ailab.runtime.native.providers.errors import SourceError, Stopped
from ailab.runtime.native.providers.progress import Budget, Progress

BODY = bytes(range(256)) * 4000
SUM = hashlib.sha256(BODY).hexdigest()
Told = list[tuple[str, str, int | None, int | None]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def fetcher(tmp_path: Path, told: Told) -> Iterator[Callable[..., Fetcher]]:
    made: list[Fetcher] = []

    def make(seconds: float = 60, **settings: Any) -> Fetcher:
        progress = Progress(lambda *event: told.append(event))
        made.append(Fetcher(tmp_path / "the cache", Budget(seconds), progress, **({"pauses_s": (0, 0, 0)} | settings)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def failure(fetcher: Fetcher, url: str, sha256: str = SUM) -> str:
    with pytest.raises(SourceError) as caught:
        fetcher.fetch(url, sha256)
    return str(caught.value)


def test_a_file_is_fetched_once(server: Any, fetcher: Callable[..., Fetcher], told: Told) -> None:
    url = server.file("/a.tar.gz", BODY)
    path = fetcher().fetch(url, SUM)
    assert path.read_bytes() == BODY
    assert told[-1] == ("download", url, len(BODY), len(BODY))
    assert fetcher().fetch(url, SUM) == path
    assert server.count["/a.tar.gz"] == 1


def test_a_broken_connection_is_resumed(server: Any, fetcher: Callable[..., Fetcher], told: Told) -> None:
    def breaks_twice(request: Any) -> None:
        request.file(BODY, cut=300_000 if request.turn < 3 else None)

    server.paths["/a"] = breaks_twice
    assert fetcher().fetch(server.url("/a"), SUM).read_bytes() == BODY
    assert [asked for _, asked, _ in server.asked] == [None, "bytes=300000-", "bytes=600000-"]
    assert told[-1][2:] == (len(BODY), len(BODY))


def test_what_an_interrupted_install_fetched_is_used(server: Any, fetcher: Callable[..., Fetcher], tmp_path: Path) -> None:
    part = place_of(tmp_path / "the cache", SUM).with_suffix(".part")
    part.parent.mkdir(parents=True)
    for have in (1000, len(BODY)):
        server.asked.clear()
        part.write_bytes(BODY[:have])
        url = server.file("/a", BODY)
        path = fetcher().fetch(url, SUM)
        assert path.read_bytes() == BODY
        assert server.asked == [("/a", f"bytes={have}-", None)]
        path.unlink()


def test_a_server_that_cannot_resume_begins_anew(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    def no_ranges(request: Any) -> None:
        del request.headers["Range"]
        request.file(BODY, cut=1000 if request.turn == 1 else None)

    server.paths["/a"] = no_ranges
    assert fetcher().fetch(server.url("/a"), SUM).read_bytes() == BODY


def test_a_download_that_always_breaks(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    server.paths["/a"] = lambda request: request.file(BODY, cut=10)
    assert failure(fetcher(), server.url("/a")) == (
        f"{server.url('/a')}: the connection ended after 30 of {len(BODY)} bytes (check the network, HTTPS_PROXY and the firewall); 3 tries"
    )


def test_a_corrupted_download_is_fetched_once_more(server: Any, fetcher: Callable[..., Fetcher], tmp_path: Path) -> None:
    server.paths["/a"] = lambda request: request.file(b"x" * 500 if request.turn == 1 else BODY)
    assert fetcher().fetch(server.url("/a"), SUM).read_bytes() == BODY
    assert [path.name for path in (tmp_path / "the cache" / "sha256").iterdir()] == [SUM]


def test_a_wrong_file_is_thrown_away(server: Any, fetcher: Callable[..., Fetcher], tmp_path: Path) -> None:
    got = hashlib.sha256(b"evil").hexdigest()
    url = server.file("/a", b"evil")
    assert failure(fetcher(), f"{url}?token=secret") == (
        f"{url}: its sha256 is {got[:12]}… but should be {SUM[:12]}…, twice; it was thrown away "
        "(a proxy that changes downloads, or a release that was replaced: compare with the vendor's)"
    )
    assert server.count["/a"] == 2
    assert list((tmp_path / "the cache" / "sha256").iterdir()) == []


def test_a_file_that_broke_in_the_cache_is_fetched_again(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    path = fetcher().fetch(server.file("/a", BODY), SUM)
    path.write_bytes(BODY[:-1] + b"x")
    assert cached(path.parents[1], SUM) is None
    assert fetcher().fetch(server.url("/a"), SUM).read_bytes() == BODY


CHECK = "check the network, HTTPS_PROXY and the firewall"
STATUS = {
    401: (1, f"the server refused it (401; {CHECK})"),
    403: (1, f"the server refused it (403; {CHECK})"),
    404: (1, "there is no such file (404; the release was moved, or the version in native.toml is wrong)"),
    407: (1, "the proxy wants a password (407; put it in HTTPS_PROXY)"),
    416: (6, None),
    429: (3, "too many requests (429; try again in 7 s); 3 tries"),
    500: (3, "the server answered 500 (try again later); 3 tries"),
    503: (3, "the server answered 503 (try again later); 3 tries"),
}


@pytest.mark.parametrize(("status", "tries", "reason"), [(s, *expected) for s, expected in STATUS.items() if s != 416])
def test_what_a_server_refuses(server: Any, fetcher: Callable[..., Fetcher], status: int, tries: int, reason: str) -> None:
    server.paths["/a"] = lambda request: request.answer(status, b"no", Retry_After="7")
    assert failure(fetcher(), server.url("/a")) == f"{server.url('/a')}: {reason}"
    assert server.count["/a"] == tries


def test_a_server_that_comes_back(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    server.paths["/a"] = lambda request: request.answer(503) if request.turn < 3 else request.file(BODY)
    assert fetcher().fetch(server.url("/a"), SUM).read_bytes() == BODY


def test_redirects_are_followed_without_the_password(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    server.file("/there", BODY)
    server.paths["/here"] = lambda request: request.answer(302, Location=server.url("/there").replace("127.0.0.1", "localhost"))
    headers = {"Authorization": "Basic c2VjcmV0"}
    assert fetcher(headers=headers).fetch(server.url("/here"), SUM).read_bytes() == BODY
    assert server.asked == [("/here", None, "Basic c2VjcmV0"), ("/there", None, None)]


def test_redirects_in_a_circle_and_to_files_end(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    server.paths["/a"] = lambda request: request.answer(302, Location=server.url("/a"))
    assert failure(fetcher(), server.url("/a")) == f"{server.url('/a')}: sends us on more than 5 times, at last to {server.url('/a')}"
    server.paths["/b"] = lambda request: request.answer(302, Location="file:///etc/passwd")
    assert failure(fetcher(), server.url("/b")) == "file:///etc/passwd: is no address of the web (https://…)"


def test_a_silent_server(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    server.paths["/a"] = lambda _: server.closing.wait(20)
    assert failure(fetcher(silence_s=0.1, pauses_s=(0, 0)), server.url("/a")) == (f"{server.url('/a')}: no answer within 0.1 s ({CHECK}); 2 tries")


def test_a_trickle_counts_as_broken(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    def trickle(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(BODY)))
        request.end_headers()
        while not server.closing.wait(0.02):
            request.wfile.write(b"x")

    server.paths["/a"] = trickle
    reason = failure(fetcher(slow=1000, slow_s=0.2, pauses_s=(0,)), server.url("/a"))
    assert reason.startswith(f"{server.url('/a')}: only ")
    assert reason.endswith(f" bytes came in 0 s ({CHECK})")


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that is bound, so that nobody else takes it, but where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_nobody_listens(deaf_port: int, fetcher: Callable[..., Fetcher]) -> None:
    started = time.monotonic()
    assert failure(fetcher(pauses_s=(0, 60)), f"http://127.0.0.1:{deaf_port}/a") == (f"127.0.0.1:{deaf_port}: the connection was refused ({CHECK})")
    assert time.monotonic() - started < 10, "a refusal is final"


def test_no_such_host(fetcher: Callable[..., Fetcher], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    reason = failure(fetcher(), "http://nobody.invalid/a")
    assert reason.startswith("nobody.invalid: the name can't be resolved (no network, or no DNS: check the connection and HTTPS_PROXY)")


def test_a_proxy_that_is_gone(deaf_port: int, fetcher: Callable[..., Fetcher], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:s3cret@127.0.0.1:{deaf_port}")
    assert failure(fetcher(), "http://vendor.invalid/a") == (
        f"vendor.invalid through the proxy http://127.0.0.1:{deaf_port}: the connection was refused ({CHECK})"
    )


def test_addresses_and_sums_that_are_none(fetcher: Callable[..., Fetcher]) -> None:
    assert failure(fetcher(), "file:///etc/passwd") == "file:///etc/passwd: is no address of the web (https://…)"
    assert failure(fetcher(), "http://x/a", "abc") == "http://x/a: 'abc' is no sha256 (64 hex digits)"


def test_a_certificate_file_that_is_none(fetcher: Callable[..., Fetcher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    assert failure(fetcher(), "https://127.0.0.1:1/a") == (f"{tmp_path}/none.pem: can't be read as certificates (SSL_CERT_FILE names it)")


def test_time_runs_out(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    def endless(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        while not server.closing.wait(0.01):
            request.wfile.write(b"x" * 1000)

    server.paths["/a"] = endless
    assert failure(fetcher(seconds=0.3), server.url("/a")) == ("not done within 0.3 s (a slow line or machine: run it again, it goes on)")


def test_a_stop_ends_it(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    stopping = fetcher()

    def stops(request: Any) -> None:
        stopping.budget.stop()
        request.file(BODY)

    server.paths["/a"] = stops
    with pytest.raises(Stopped):
        stopping.fetch(server.url("/a"), SUM)


def test_small_texts(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    server.paths["/sums"] = lambda request: request.answer(503) if request.turn == 1 else request.file(b"abc  a\n")
    assert fetcher().text(server.url("/sums")) == "abc  a\n"
    with pytest.raises(SourceError, match=r"/none: there is no such file \(404"):
        fetcher().text(server.url("/none"))


def test_a_connection_is_used_again(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    bodies = [str(number).encode() for number in range(5)]
    one = fetcher()
    for number, body in enumerate(bodies):
        one.fetch(server.file(f"/{number}", body), hashlib.sha256(body).hexdigest())
    assert server.connections == 1


def test_a_connection_that_the_server_has_closed_meanwhile(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    def closes(request: Any) -> None:
        # Without a word of it in the answer.
        request.file(BODY)
        request.close_connection = True

    server.paths["/a"] = closes
    one = fetcher(pauses_s=(0,))
    one.fetch(server.url("/a"), SUM).unlink()
    assert one.fetch(server.url("/a"), SUM).read_bytes() == BODY
    assert server.connections == 2


def test_the_rest_of_an_answer_is_not_read_as_the_next_one(server: Any, fetcher: Callable[..., Fetcher]) -> None:
    server.paths["/no"] = lambda request: request.answer(404, b"x" * 100_000)
    one = fetcher()
    failure(one, server.url("/no"))
    assert one.fetch(server.file("/a", BODY), SUM).read_bytes() == BODY


def test_a_proxy_is_used_with_its_password(server: Any, fetcher: Callable[..., Fetcher], monkeypatch: pytest.MonkeyPatch) -> None:
    """The server plays the proxy: it is asked for the whole address."""
    monkeypatch.setenv("http_proxy", server.url("").replace("//", "//me:s%40cret@"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    passwords: list[str | None] = []

    def proxied(request: Any) -> None:
        passwords.append(request.headers.get("Proxy-Authorization"))
        request.file(BODY)

    server.paths["http://vendor.invalid/a"] = proxied
    assert fetcher().fetch("http://vendor.invalid/a", SUM).read_bytes() == BODY
    assert passwords == ["Basic bWU6c0BjcmV0"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    other = b"direct"
    assert fetcher().fetch(server.file("/b", other), hashlib.sha256(other).hexdigest()).read_bytes() == other
