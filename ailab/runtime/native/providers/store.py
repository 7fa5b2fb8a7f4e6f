"""The store: one immutable folder a provider, whole as soon as its marker is there.

A folder is made in its final place and not renamed into it, since virtual environments, build steps and launchers bake
their own path in (relocatable environments would cover the first alone). So a marker written last says "whole"; a
folder without it, whose lock nobody holds, is what a killed install left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ailab.runtime.native.providers.errors import MOVE_STORE, StoreError, megabytes, of_the_system
from ailab.runtime.native.providers.locks import held, held_at_once
from ailab.runtime.native.providers.progress import Budget, Progress

MARKER = ".complete"
_SCRATCH = ".tmp-"
_FOLDER = re.compile(r"[a-z0-9].*-[0-9a-f]{12}")


@dataclass(frozen=True)
class Installed:
    """A whole folder of the store, and what it was made from."""

    path: Path
    source: str
    version: str


def complete(folder: Path) -> Installed | None:
    """What stands in the folder, if it is whole; an environment whose interpreter has gone from the machine isn't."""
    try:
        marker = json.loads((folder / MARKER).read_text("utf-8"))
        found = Installed(folder, marker["source"], marker["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for python in (folder / "bin" / "python", folder / "venv" / "bin" / "python"):
        if python.is_symlink() and not python.exists():
            return None
    return found


def finish(folder: Path, source: str, version: str) -> Installed:
    """Writes the marker, so that it is on the disk, with all of its text, or not there at all."""
    new = folder / f"{MARKER}.new"
    with new.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"source": source, "version": version}))
        file.flush()
        os.fsync(file.fileno())
    new.rename(folder / MARKER)
    _sync(folder)
    _sync(folder.parent)
    return Installed(folder, source, version)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def making(folder: Path, budget: Budget, progress: Progress) -> Iterator[Installed | None]:
    """Holds the folder's lock; yields what another installer made of it meanwhile, else an empty place to make it in.

    If the block fails, what it left is removed. If it is killed, the next install removes it.
    """
    _make_writable(folder.parent)
    with _lock(folder, budget, progress):
        if found := complete(folder):
            yield found
            return
        _clean(folder, progress)
        try:
            yield None
        except BaseException:
            remove(folder)
            raise
        finally:
            remove(scratch(folder))


def sweep(store: Path, progress: Progress) -> None:
    """Removes what killed installs left; what another installer is making stays."""
    with suppress(OSError):
        names = {path.name.removeprefix(_SCRATCH) for path in store.iterdir() if path.is_dir()}
        for folder in sorted(store / name for name in names if _FOLDER.fullmatch(name)):
            # Not complete(): an environment whose interpreter has gone is made anew only when it is asked for.
            if (folder / MARKER).exists() and not scratch(folder).exists():
                continue
            with held_at_once(_lock_path(folder)) as ours:
                if ours:
                    _clean(folder, progress)


def scratch(folder: Path) -> Path:
    """A place for what is needed while the folder is made: on the store's disk, under the folder's lock."""
    return folder.with_name(_SCRATCH + folder.name)


def _clean(folder: Path, progress: Progress) -> None:
    """Removes what an interrupted install left; the caller holds the lock."""
    remove(scratch(folder))
    if not (folder / MARKER).exists() and (folder.exists() or folder.is_symlink()):
        progress.step("clean", f"removing what an interrupted install left in {folder}")
        remove(folder)


def remove(folder: Path) -> None:
    """Removes the folder, read-only folders in it included; the marker goes first."""
    if folder.is_symlink():
        folder.unlink()
    if not folder.exists():
        return
    (folder / MARKER).unlink(missing_ok=True)

    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    # Some trees hold folders that their owner may not write to.
    folder.chmod(0o700)
    for place, names, _ in os.walk(folder):
        for name in names:
            Path(place, name).chmod(0o700)
    shutil.rmtree(folder)


def need_space(place: Path, count: float, what: str) -> None:
    """Raises StoreError unless `count` bytes and a little more are free at `place`."""
    free = shutil.disk_usage(place).free
    need = count * 1.05 + 10e6
    if free < need:
        raise StoreError(f"{place}: {what} needs {megabytes(need)}, {megabytes(free)} are free", MOVE_STORE)


def _make_writable(store: Path) -> None:
    """Makes the store's folders; says what is wrong with the place if that fails."""
    try:
        (store / ".locks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise of_the_system(error, store) or StoreError(
            f"{store}: can't be made ({error.strerror})", "set AILAB_STORE to a folder that can be written"
        ) from None


def _lock_path(folder: Path) -> Path:
    return folder.parent / ".locks" / f"{folder.name}.lock"


@contextmanager
def _lock(folder: Path, budget: Budget, progress: Progress) -> Iterator[None]:
    def waiting(holder: str) -> None:
        progress.step("wait", f"another install (process {holder}) is making {folder.name}: waiting for it")

    with held(_lock_path(folder), budget, waiting):
        yield
