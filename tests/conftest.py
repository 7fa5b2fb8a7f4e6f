"""What all tests share: the repository's root, and how a missing prerequisite is treated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


def missing(reason: str) -> NoReturn:
    """A prerequisite isn't there: a skip with its reason for a person, a failure in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing in CI: {reason}", pytrace=False)
    pytest.skip(reason)
