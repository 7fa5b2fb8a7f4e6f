"""Tells when a build step writes into files that the store shares with a cache.

uv and the maven kind link files instead of copying them, which saves most of the lab's disk. A build step that opens
such a file and writes changes the cache too, and with it every later install; renaming a new file over it does no harm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Device and inode, then what changes when the file is written to.
Shared = dict[tuple[int, int], tuple[int, int]]


def look(folder: Path) -> Shared:
    """The files below the folder that have another name elsewhere."""
    return {(s.st_dev, s.st_ino): (s.st_size, s.st_mtime_ns) for _, s in _linked(folder)}


def written(folder: Path, before: Shared) -> list[str]:
    """The files that still are the shared ones, but were written to since."""
    return sorted(path for path, s in _linked(folder) if before.get((s.st_dev, s.st_ino), (s.st_size, s.st_mtime_ns)) != (s.st_size, s.st_mtime_ns))


def _linked(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    todo = [str(folder)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and (status := entry.stat(follow_symlinks=False)).st_nlink > 1:
                    yield entry.path, status
