"""How commands speak: tables and JSON on stdout, errors on stderr, colour on a terminal alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn


def root() -> Path:
    """The repository's root: where lab.toml stands beside this package, or the folder that AILAB_ROOT names."""
    return Path(os.environ.get("AILAB_ROOT") or Path(__file__).parents[2]).resolve()


def fail(*messages: object, code: int = 1) -> NoReturn:
    """Say what is wrong and end: 1 when the lab is not as asked, 2 for wrong usage."""
    for message in messages:
        print(f"lab: {message}", file=sys.stderr)
    raise SystemExit(code)


def say(text: str = "") -> None:
    """A line for the person."""
    print(text, flush=True)


def emit(data: Any) -> None:
    """The answer to --json."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def coloured() -> bool:
    """Whether stdout is a terminal that wants colour."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, code: str) -> str:
    """The text in a colour (an SGR code), where there is colour."""
    return f"\x1b[{code}m{text}\x1b[0m" if coloured() else text


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns of text, two spaces apart; `right` are the columns that stand flush right. The first row is the head."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        line = "  ".join(cells).rstrip()
        lines.append(paint(line, "2") if number == 0 else line)
    return "\n".join(lines)
