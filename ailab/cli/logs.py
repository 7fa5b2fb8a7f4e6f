"""`logs`: what a service's programs wrote, from the log files; the supervisor need not run."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from pathlib import Path

from ailab.cli.output import fail
from ailab.definition.problems import did_you_mean
from ailab.runtime.native.client import state_of
from ailab.runtime.native.logs import lines_of, rotated, text_of

_POLL_S = 0.2


def logs(root: Path, service: str, container: str, follow: bool, count: int, timestamps: bool) -> int:
    """Print the last lines, then, on request, those that come.

    Args:
        count: how many lines, over all the containers together.
        timestamps: keep the time at each line's beginning.
    """
    folder = state_of(root) / "logs"
    known = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.exists() else []
    if service not in known:
        fail(f"no log of {service!r} ({did_you_mean(service, known) if known else 'the lab has not run yet'})", code=2)
    files = {p.stem: p for p in sorted((folder / service).glob("*.log"))}
    if container and container not in files:
        fail(f"{service} has no container {container!r} ({did_you_mean(container, files)})", code=2)
    chosen = {container: files[container]} if container else files
    try:
        positions = {n: p.stat().st_size for n, p in chosen.items()}
        for name, line in _last(chosen, count):
            _print(name, line, len(chosen) > 1, timestamps)
        while follow:
            time.sleep(_POLL_S)
            for name, path in chosen.items():
                for line in _new(path, name, positions):
                    _print(name, line, len(chosen) > 1, timestamps)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    return 0


def _print(name: str, line: str, several: bool, timestamps: bool) -> None:
    text = line if timestamps else text_of(line)
    print(f"[{name}] {text}" if several else text, flush=True)


def _last(files: dict[str, Path], count: int) -> list[tuple[str, str]]:
    """The last lines of several logs in the order of their times."""

    def lines(name: str, path: Path) -> Iterator[tuple[str, str]]:
        found: list[str] = []
        for file in rotated(path):
            found = [*lines_of(file.read_text("utf-8", "replace")), *found]
            if len(found) >= count:
                break
        return ((line, name) for line in (found[-count:] if count else []))

    merged = list(heapq.merge(*(lines(n, p) for n, p in files.items()), key=lambda pair: pair[0].partition(" ")[0]))
    return [(name, line) for line, name in (merged[-count:] if count else [])]


def _new(path: Path, name: str, positions: dict[str, int]) -> list[str]:
    """The whole lines that were added since the last look; what a rotation moved aside is read first."""
    lines: list[str] = []
    size = path.stat().st_size if path.exists() else 0
    older = path.with_name(f"{path.name}.1")
    if size < positions[name]:
        if older.exists():
            with older.open("rb") as file:
                file.seek(positions[name])
                lines += lines_of(file.read().decode("utf-8", "replace"))
        positions[name] = 0
    if size > positions[name]:
        with path.open("rb") as file:
            file.seek(positions[name])
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        positions[name] += len(whole)
        lines += lines_of(whole.decode("utf-8", "replace"))
    return lines
