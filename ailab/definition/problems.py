"""What is wrong with the definition: place, cause and way out, all of it at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        place: file, and the path or line within it.
        what: the cause, in words of the field.
        way_out: what is allowed, or what to do.
    """

    place: str
    what: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what} ({self.way_out})"


class DefinitionError(Exception):
    """The definition cannot be used; carries every problem found, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """The way out for an unknown word: the nearest allowed one, else all of them."""
    words = sorted(allowed)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return "allowed: " + ", ".join(words) if words else "nothing is allowed here"


def unreadable(place: str, error: OSError | UnicodeDecodeError) -> Problem:
    """The problem with a file that is there but can't be read."""
    if isinstance(error, UnicodeDecodeError):
        return Problem(place, f"byte {error.start} is not UTF-8", "save the file as UTF-8")
    return Problem(place, f"cannot be read: {error.strerror}", "it must be a file that you may read")
