"""What a kind gets to make a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ailab.runtime.native.providers.interpreters import Interpreter
from ailab.runtime.native.providers.progress import Budget, Progress
from ailab.runtime.native.providers.spec import Source, Spec


@dataclass(frozen=True)
class Job:
    """One source being made.

    Attributes:
        folder: the final place; not there yet.
        scratch: an empty folder of the store's disk, removed afterwards.
        interpreter: for kinds that make a virtual environment.
    """

    spec: Spec
    source: Source
    folder: Path
    scratch: Path
    budget: Budget
    progress: Progress
    interpreter: Interpreter | None

    @property
    def label(self) -> str:
        return f"{self.spec.name} {self.source.version}"

    def tell(self, line: str) -> None:
        """Passes a line of a tool's output on as progress."""
        self.progress.step(self.source.kind, line.strip())
