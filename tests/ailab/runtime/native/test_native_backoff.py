"""Restarts wait as a kubelet's do."""

from __future__ import annotations

import pytest

from ailab.runtime.native.backoff import Backoff


@pytest.mark.parametrize(
    ("ran", "waits"),
    [
        ([0] * 8, [0, 10, 20, 40, 80, 160, 300, 300]),
        ([599, 599, 599], [0, 10, 20]),
        ([0, 0, 600, 0], [0, 10, 0, 10]),
        ([700], [0]),
    ],
)
def test_waits(ran: list[float], waits: list[float]) -> None:
    backoff = Backoff()
    assert [backoff.next(seconds) for seconds in ran] == waits
