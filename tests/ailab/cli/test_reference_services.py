"""docs/reference/services.md is what the definition says."""

from __future__ import annotations

from pathlib import Path

from ailab.cli import reference_services
from ailab.definition.load import load


def test_the_page_is_up_to_date(root: Path) -> None:
    assert (root / reference_services.FILE).read_text("utf-8") == reference_services.text(load(root)), "run python -m ailab.cli.reference"
