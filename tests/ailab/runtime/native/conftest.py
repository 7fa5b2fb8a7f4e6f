"""The small lab as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_lab import SmallLab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[SmallLab]:
    """An empty small lab; taken down at the end."""
    made = SmallLab(tmp_path / "a lab")
    yield made
    made.end()
