"""Logs: whole lines, none lost by rotation, no secret in them however it comes, a full disk is survived."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailab.runtime.native.logs import LINE_LIMIT, Log, Redactor, rotated, tail, text_of
from tests.conftest import missing

SECRET, LONGER = "s3cret-s3cret", "s3cret-s3cret-and-more"


def written(path: Path) -> list[str]:
    """All lines of a log, oldest first, without their times."""
    files = reversed(list(rotated(path)))
    return [text_of(line) for file in files for line in file.read_text("utf-8").split("\n")[:-1]]


def log_at(path: Path, limit: int = 10_000_000, files: int = 5, secrets: tuple[str, ...] = ()) -> Log:
    return Log(path / "it" / "it.log", limit, files, Redactor(secrets))


def test_a_line_has_its_time(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    log.feed(b"one\ntwo\r\n\nthr")
    assert written(log.path) == ["one", "two", ""]
    log.feed(b"ee\nrest")
    log.close()
    assert written(log.path) == ["one", "two", "", "three", "rest"]
    for line in log.path.read_text().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line)


def test_it_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for word in ("one", "two"):
        log = log_at(tmp_path, limit=200)
        log.line(word)
        log.close()
    assert written(log.path) == ["one", "two"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.text(alphabet="abc é", max_size=60), max_size=80), cuts=st.lists(st.integers(1, 400), max_size=30))
def test_rotation_loses_no_line(tmp_path_factory: pytest.TempPathFactory, lines: list[str], cuts: list[int]) -> None:
    log = log_at(tmp_path_factory.mktemp("log"), limit=1000, files=99)
    data = "".join(f"{line}\n" for line in lines).encode()
    for cut in cuts:
        log.feed(data[:cut])
        data = data[cut:]
    log.feed(data)
    log.close()
    assert written(log.path) == lines
    for file in rotated(log.path):
        assert file.stat().st_size <= 1000


def test_the_oldest_file_is_dropped(tmp_path: Path) -> None:
    log = log_at(tmp_path, limit=300, files=3)
    for number in range(100):
        log.line(f"line {number}")
    log.close()
    assert sorted(p.name for p in log.path.parent.iterdir()) == ["it.log", "it.log.1", "it.log.2"]
    kept = written(log.path)
    assert kept == [f"line {n}" for n in range(100 - len(kept), 100)]
    assert len(kept) > 10


@pytest.mark.parametrize("size", [LINE_LIMIT - 1, LINE_LIMIT, LINE_LIMIT + 1, 3 * LINE_LIMIT, 3 * LINE_LIMIT + 5])
@pytest.mark.parametrize("chunk", [1000, 65536, 10**6])
def test_a_long_line_goes_on_in_the_next(tmp_path: Path, size: int, chunk: int) -> None:
    log = log_at(tmp_path)
    data = ("ä" * size).encode()[: size * 2] + b"\nnext\n"
    for start in range(0, len(data), chunk):
        log.feed(data[start : start + chunk])
    log.close()
    found = written(log.path)
    assert found[-1] == "next"
    assert "".join(found[:-1]) == "ä" * size, "cut between characters, none lost"
    assert all(len(line.encode()) <= LINE_LIMIT for line in found)
    assert len(found) - 1 == -(-size * 2 // LINE_LIMIT)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.integers(LINE_LIMIT - 40, LINE_LIMIT + 5) | st.integers(0, 100), chunk=st.integers(1, 40), secret=st.sampled_from([SECRET, LONGER]))
def test_a_secret_is_found_wherever_the_output_is_cut(tmp_path_factory: pytest.TempPathFactory, before: int, chunk: int, secret: str) -> None:
    log = log_at(tmp_path_factory.mktemp("log"), secrets=(SECRET, LONGER, "short"))
    data = b"x" * before + secret.encode() + b"yy short\n"
    log.feed(data[: max(0, before - 50)])
    for start in range(max(0, before - 50), len(data), chunk):
        log.feed(data[start : start + chunk])
    log.close()
    text = "".join(written(log.path))
    assert text == "x" * before + "***yy short", "what is too short to be a secret stays"


def test_a_secret_without_a_line_end(tmp_path: Path) -> None:
    log = log_at(tmp_path, secrets=(SECRET,))
    log.feed(b"x" * (LINE_LIMIT - 4) + SECRET.encode() + b"x" * 5 * LINE_LIMIT + SECRET.encode())
    log.flush()
    log.close()
    text = "".join(written(log.path))
    assert text == "x" * (LINE_LIMIT - 4) + "***" + "x" * 5 * LINE_LIMIT + "***"


def test_tail(tmp_path: Path) -> None:
    log = log_at(tmp_path, limit=400, files=9)
    for number in range(50):
        log.line(f"{number}\x0b\x85 \r{number}")
    log.close()
    assert tail(log.path, 30) == [f"{n}\x0b\x85 \r{n}" for n in range(20, 50)]
    assert tail(log.path, 1000)[-1].startswith("49")
    assert tail(log.path, 0) == []
    assert tail(tmp_path / "none.log", 5) == []


def test_tail_of_a_huge_file_reads_its_end(tmp_path: Path) -> None:
    path = tmp_path / "huge.log"
    with path.open("w") as file:
        file.writelines(f"T {n} {'x' * 1000}\n" for n in range(2000))
    lines = tail(path, 3)
    assert [line.split()[0] for line in lines] == ["1997", "1998", "1999"]


def test_lost_rotation_goes_on(tmp_path: Path) -> None:
    """What stands in the way of a rename keeps the file growing; no line is lost."""
    log = log_at(tmp_path, limit=200, files=2)
    (log.path.parent / "it.log.1").mkdir()
    for number in range(20):
        log.line(f"line {number}")
    log.close()
    assert [text_of(line) for line in log.path.read_text().splitlines()] == [f"line {n}" for n in range(20)]


FULL = """
import os, sys
from pathlib import Path
from ailab.runtime.native.logs import Log, Redactor
folder = Path(sys.argv[1])
log = Log(folder / "it.log", 10_000_000, 2, Redactor([]))
filler = (folder / "filler").open("wb", buffering=0)
try:
    while filler.write(b"x" * 4096) == 4096:
        pass
except OSError:
    pass
log.feed(b"a line that still fits where the file's last page has room\\n" * 100)
os.truncate(folder / "filler", 0)
log.feed(b"there is room again\\n")
log.close()
print((folder / "it.log").read_text(), end="")
"""


def test_a_full_disk_loses_lines_and_says_so(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        missing("only root may mount a small disk")
    (tmp_path / "disk").mkdir()
    script = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -P -c "$3" "$1"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path / "disk"), os.sys.executable, FULL]  # type: ignore[attr-defined]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if "permission denied" in done.stderr:
        missing(f"this machine lets us mount nothing: {done.stderr}")
    assert done.returncode == 0, done.stderr
    lines = [text_of(line) for line in done.stdout.splitlines()]
    assert lines[-1] == "there is room again"
    assert re.fullmatch(r"\[\d+ lines are lost: the disk took no more\]", lines[-2])
    lost = int(lines[-2].split()[0].strip("["))
    whole = [line for line in lines if line.endswith("has room")]
    assert lost + len(whole) == 100
    assert lost > 0
