"""Unpacks archives so that nothing in them can land outside the folder."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from ailab.runtime.native.providers import zstd
from ailab.runtime.native.providers.errors import SourceError
from ailab.runtime.native.providers.progress import Budget
from ailab.runtime.native.providers.store import need_space

# What compression saves at most on programs, for the look at the free space before a tar is unpacked.
_TAR_GROWS = 5
# RuntimeError: a zip with a password; NotImplementedError: a compression that nobody uses.
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, ValueError, RuntimeError)


def unpack(archive: Path, name: str, folder: Path, strip: int, budget: Budget, expected: float = 0) -> None:
    """Unpacks a tar or zip by the ending of its name; any other file is put in the folder as a program.

    Args:
        expected: bytes that it takes when unpacked, if that is known.

    Raises:
        SourceError: it can't be read, or something in it points outside the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if name.endswith((".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar")):
            need_space(folder, expected or archive.stat().st_size * _TAR_GROWS, f"unpacking {name}")
            _tar(archive, name, folder, strip, budget)
        elif name.endswith((".zip", ".jar", ".whl")):
            _zip(archive, name, folder, strip, budget)
        else:
            need_space(folder, archive.stat().st_size, f"copying {name}")
            shutil.copyfile(archive, folder / name)
            (folder / name).chmod(0o755)
    except _BROKEN as error:
        raise SourceError(f"{name}: can't be unpacked ({error})") from None
    if not any(folder.iterdir()):
        raise SourceError(f"{name}: nothing is left of it after strip = {strip}")


def _tar(archive: Path, name: str, folder: Path, strip: int, budget: Budget) -> None:
    with ExitStack() as stack:
        if name.endswith(".zst"):
            stream = stack.enter_context(zstd.opened(archive))
            tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r|"))
        else:
            tar = stack.enter_context(tarfile.open(archive))
        for member in _members(tar, folder, strip):
            budget.left()
            # Debian 12's Python has no filters yet; what they refuse is refused in _members.
            if hasattr(tarfile, "data_filter"):
                tar.extract(member, folder, filter="data")
            else:
                tar.extract(member, folder, set_attrs=not member.isdir())


def _members(tar: tarfile.TarFile, folder: Path, strip: int) -> Iterator[tarfile.TarInfo]:
    root = folder.resolve()
    for member in tar:
        name = _stripped(member.name, strip)
        if name is None:
            continue
        target = _inside(root, name, member.name)
        if member.issym():
            if PurePosixPath(member.linkname).is_absolute():
                raise SourceError(f"{member.name}: links to {member.linkname}, outside the archive")
            _inside(root, str(PurePosixPath(name).parent / member.linkname), member.name)
        elif member.islnk():
            link = _stripped(member.linkname, strip)
            if link is None:
                raise SourceError(f"{member.name}: links to {member.linkname}, outside the archive")
            _inside(root, link, member.name)
            member.linkname = link
        elif not (member.isfile() or member.isdir()):
            raise SourceError(f"{member.name}: is a device or a pipe")
        if target.is_symlink() and not member.issym():
            raise SourceError(f"{member.name}: stands in the archive twice, once as a link")
        member.name = name
        # Owners of another machine mean nothing here, and set-uid bits are never wanted.
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = (member.mode | stat.S_IRUSR | stat.S_IWUSR | (stat.S_IXUSR if member.isdir() else 0)) & 0o755
        yield member


def _zip(archive: Path, name: str, folder: Path, strip: int, budget: Budget) -> None:
    root = folder.resolve()
    with zipfile.ZipFile(archive) as bundle:
        infos = bundle.infolist()
        need_space(folder, sum(info.file_size for info in infos), f"unpacking {name}")
        for info in infos:
            budget.left()
            relative = _stripped(info.filename, strip)
            if relative is None:
                continue
            mode = info.external_attr >> 16
            target = _inside(root, relative, info.filename)
            if info.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if stat.S_ISLNK(mode):
                link = bundle.read(info).decode()
                if PurePosixPath(link).is_absolute():
                    raise SourceError(f"{info.filename}: links to {link}, outside the archive")
                _inside(root, str(PurePosixPath(relative).parent / link), info.filename)
                target.symlink_to(link)
                continue
            with bundle.open(info) as source, target.open("xb") as file:
                shutil.copyfileobj(source, file)
            target.chmod((mode | 0o644) & 0o755 if mode else 0o644)


def _stripped(name: str, strip: int) -> str | None:
    """The name without its first `strip` folders; None if nothing is left of it."""
    parts = [part for part in PurePosixPath(name).parts if part != "."]
    return str(PurePosixPath(*parts[strip:])) if len(parts) > strip else None


def _inside(root: Path, name: str, shown: str) -> Path:
    """The place of a member below root, links that were unpacked before it followed."""
    if name.startswith("/") or "\\" in name or "\0" in name:
        raise SourceError(f"{shown}: has a path outside the archive's folder")
    target = root / name
    if not (target.parent.resolve() / target.name).is_relative_to(root) or not target.resolve().is_relative_to(root):
        raise SourceError(f"{shown}: has a path outside the archive's folder")
    return target
