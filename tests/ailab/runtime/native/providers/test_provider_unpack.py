"""Archives: what is in them lands in the folder, or nothing does."""

import ctypes
import io
import os
import stat
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ailab.runtime.native.providers import zstd
from ailab.runtime.native.providers.errors import SourceError, StoreError
from ailab.runtime.native.providers.progress import Budget
from ailab.runtime.native.providers.unpack import unpack

Entry = tuple[str, bytes | str, int]
LINK = 0o120777


def tar_of(path: Path, entries: list[Entry], mode: str = "w:gz") -> Path:
    """A tar; text instead of bytes: a link to it, and with mode 1 a hard one."""
    with tarfile.open(path, mode) as tar:
        for name, content, bits in entries:
            info = tarfile.TarInfo(name)
            info.uid = info.gid = 12345
            info.mode = bits
            if isinstance(content, str):
                info.type = tarfile.LNKTYPE if bits == 1 else tarfile.SYMTYPE
                info.linkname = content
                tar.addfile(info)
            elif name.endswith("/"):
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def zip_of(path: Path, entries: list[Entry]) -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content, bits in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = (LINK if isinstance(content, str) else stat.S_IFREG | bits) << 16
            bundle.writestr(info, content)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "store" / "thing-1"


def open_up(archive: Path, folder: Path, strip: int = 0, name: str | None = None) -> None:
    unpack(archive, name or archive.name, folder, strip, Budget(60))


GOOD: list[Entry] = [
    ("./thing-1/", b"", 0o700),
    ("thing-1/bin/run", b"#!/bin/sh\n", 0o4755),
    ("thing-1/readme", b"text", 0o600),
    ("thing-1/bin/also", "run", 0o777),
    ("thing-1/up", "bin/../readme", 0o777),
]


@pytest.mark.parametrize(("name", "mode"), [("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.xz", "w:xz"), ("a.tar", "w")])
def test_tars(tmp_path: Path, out: Path, name: str, mode: str) -> None:
    open_up(tar_of(tmp_path / name, [*GOOD, ("thing-1/hard", "thing-1/readme", 1)], mode), out, strip=1)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) == [
        "bin", "bin/also", "bin/run", "hard", "readme", "up",
    ]  # fmt: skip
    assert (out / "bin" / "also").read_bytes() == b"#!/bin/sh\n"
    assert (out / "up").read_bytes() == (out / "hard").read_bytes() == b"text"
    status = (out / "bin" / "run").stat()
    assert stat.S_IMODE(status.st_mode) == 0o755, "set-uid bits are never wanted"
    assert status.st_uid == os.getuid()


def zstd_of(data: bytes) -> bytes:
    """Two frames, as parallel compressors write."""
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compress.restype = ctypes.c_size_t
    out = b""
    for part in (data[: len(data) // 2], data[len(data) // 2 :]):
        target = ctypes.create_string_buffer(len(part) + 1000)
        size = library.ZSTD_compress(target, ctypes.c_size_t(len(target)), part, ctypes.c_size_t(len(part)), 3)
        out += target.raw[:size]
    return out


def test_zstd(tmp_path: Path, out: Path) -> None:
    big = os.urandom(400_000) + b"x" * 1_000_000
    plain = tar_of(tmp_path / "plain", [*GOOD, ("thing-1/big", big, 0o644), ("thing-1/hard", "thing-1/big", 1)], "w")
    packed = zstd_of(plain.read_bytes())
    (tmp_path / "a.tar.zst").write_bytes(packed)
    open_up(tmp_path / "a.tar.zst", out, strip=1)
    assert (out / "big").read_bytes() == (out / "hard").read_bytes() == big
    assert (out / "up").read_bytes() == b"text"
    for number, broken in enumerate((packed[:-100_000], packed[:100], b"no zstd")):
        (tmp_path / "b.tar.zst").write_bytes(broken)
        with pytest.raises(SourceError, match=r"^b\.tar\.zst: can't be unpacked \("):
            open_up(tmp_path / "b.tar.zst", tmp_path / str(number), strip=1)


def test_zstd_without_its_library(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("Python reads zstd itself from 3.14 on")
    monkeypatch.setattr(zstd, "_LIBRARY", "libnone.so.1")
    (tmp_path / "a.tar.zst").write_bytes(b"")
    with pytest.raises(SourceError) as caught:
        open_up(tmp_path / "a.tar.zst", out)
    assert str(caught.value) == "libnone.so.1 is not on this machine (apt install libzstd1, or Python 3.14)"


def test_zips(tmp_path: Path, out: Path) -> None:
    entries: list[Entry] = [entry for entry in GOOD if not entry[0].endswith("/")]
    open_up(zip_of(tmp_path / "a.zip", entries), out, strip=1)
    assert (out / "bin" / "also").read_bytes() == b"#!/bin/sh\n"
    assert os.access(out / "bin" / "run", os.X_OK)
    assert not os.access(out / "readme", os.X_OK)
    assert (out / "up").is_symlink()


def test_a_bare_file_is_a_program(tmp_path: Path, out: Path) -> None:
    (tmp_path / "x").write_bytes(b"#!/bin/sh\n")
    open_up(tmp_path / "x", out, name="kubectl")
    assert os.access(out / "kubectl", os.X_OK)


EVIL: list[tuple[list[Entry], str]] = [
    ([("../evil", b"x", 0o644)], "../evil: has a path outside the archive's folder"),
    ([("a/../../evil", b"x", 0o644)], "a/../../evil: has a path outside the archive's folder"),
    ([("/evil", b"x", 0o644)], "/evil: has a path outside the archive's folder"),
    ([("a", "/etc", 0o777)], "a: links to /etc, outside the archive"),
    ([("a", "../..", 0o777)], "a: has a path outside the archive's folder"),
    ([("a/b", "..", 0o777), ("a/c", "b/..", 0o777)], "a/c: has a path outside the archive's folder"),
    ([("a", "b/../..", 0o777), ("a/evil", b"x", 0o644)], "a: has a path outside the archive's folder"),
]


@pytest.mark.parametrize(("entries", "message"), EVIL, ids=[message[:40] for _, message in EVIL])
@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_what_points_outside_is_refused(tmp_path: Path, out: Path, make: object, entries: list[Entry], message: str) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", entries) if make is tar_of else zip_of(tmp_path / "a.zip", entries)
    with pytest.raises(SourceError) as caught:
        open_up(archive, out)
    assert str(caught.value) == message
    assert not list(tmp_path.rglob("evil"))


TAR_EVIL: list[tuple[list[Entry], str]] = [
    ([("a", "../x", 1)], "a: has a path outside the archive's folder"),
    ([("a", "/etc/passwd", 1)], "a: has a path outside the archive's folder"),
    ([("d/", b"", 0o755), ("a", "d", 0o777), ("a", b"x", 0o644)], "a: stands in the archive twice, once as a link"),
]


@pytest.mark.parametrize(("entries", "message"), TAR_EVIL)
@pytest.mark.filterwarnings("ignore:Python 3.14 will")
@pytest.mark.parametrize("filters", [True, False], ids=["python with filters", "python without"])
def test_what_only_tars_can_do(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, entries: list[Entry], message: str, filters: bool) -> None:
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with pytest.raises(SourceError) as caught:
        open_up(tar_of(tmp_path / "a.tar.gz", entries), out)
    assert str(caught.value) == message


def test_devices_are_refused(tmp_path: Path, out: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("fifo")
        info.type = tarfile.FIFOTYPE
        tar.addfile(info)
    with pytest.raises(SourceError, match="fifo: is a device or a pipe"):
        open_up(tmp_path / "a.tar", out)


@pytest.mark.filterwarnings("ignore:Python 3.14 will")
def test_a_python_without_filters_unpacks_the_same(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    open_up(tar_of(tmp_path / "a.tar.gz", GOOD), out, strip=1)
    assert os.access(out / "bin" / "run", os.X_OK)
    assert (out / "up").read_bytes() == b"text"


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.xz", "a.zip"])
def test_what_is_no_archive(tmp_path: Path, out: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<html>please log in</html>")
    with pytest.raises(SourceError, match=rf"^{name}: can't be unpacked \("):
        open_up(tmp_path / name, out)


def test_a_tar_that_ends_early(tmp_path: Path, out: Path) -> None:
    whole = tar_of(tmp_path / "whole.tar.gz", [("a", os.urandom(50_000), 0o644)]).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"^a\.tar\.gz: can't be unpacked \("):
        open_up(tmp_path / "a.tar.gz", out)


def test_nothing_left_after_strip(tmp_path: Path, out: Path) -> None:
    with pytest.raises(SourceError) as caught:
        open_up(tar_of(tmp_path / "a.tar.gz", GOOD), out, strip=5)
    assert str(caught.value) == "a.tar.gz: nothing is left of it after strip = 5"


def test_too_big_for_the_disk(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zip_of(tmp_path / "a.zip", [("a", b"x" * 100_000_000, 0o644)])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=50_000_000))
    with pytest.raises(StoreError) as caught:
        open_up(archive, out)
    assert str(caught.value) == (f"{out}: unpacking a.zip needs 115 MB, 50 MB are free (free some space, or move the store: AILAB_STORE=/another/disk/store)")
    assert list(out.iterdir()) == []
