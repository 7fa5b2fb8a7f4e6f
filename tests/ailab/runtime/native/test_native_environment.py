"""Variables as Kubernetes resolves them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailab.runtime.native.environment import MissingSecret, expand, resolve
from ailab.runtime.native.model import EnvEntry

TABLE = json.loads((Path(__file__).parent / "cases" / "environment.json").read_text())


@pytest.mark.parametrize(("value", "expected"), TABLE["cases"])
def test_expansion(value: str, expected: str) -> None:
    assert expand(value, TABLE["known"]) == expected


@given(st.text(alphabet="$()AB_x ", max_size=30))
def test_with_nothing_known_only_escapes_change(value: str) -> None:
    assert expand(value, {}).replace("$", "") == value.replace("$", "")


@given(st.text(max_size=50))
def test_an_escaped_text_comes_out_as_it_was(value: str) -> None:
    assert expand(value.replace("$", "$$"), {"A": "a"}) == value


def test_a_reference_sees_what_stands_before_it() -> None:
    entries = [EnvEntry("FIRST", "$(SECOND)"), EnvEntry("SECOND", "2"), EnvEntry("THIRD", "$(SECOND)3"), EnvEntry("FOURTH", "$(THIRD)4")]
    assert resolve(entries, {}) == {"FIRST": "$(SECOND)", "SECOND": "2", "THIRD": "23", "FOURTH": "234"}


def test_secrets_are_put_in_as_they_are() -> None:
    entries = [EnvEntry("A", "a"), EnvEntry("PASSWORD", secret="KEY"), EnvEntry("URL", "db://u:$(PASSWORD)@h")]
    assert resolve(entries, {"KEY": "$(A)$$"}) == {"A": "a", "PASSWORD": "$(A)$$", "URL": "db://u:$(A)$$@h"}


def test_a_missing_secret() -> None:
    with pytest.raises(MissingSecret, match=r"^\.env has no value for KEY$"):
        resolve([EnvEntry("A", secret="KEY")], {})
    assert resolve([EnvEntry("A", secret="KEY", optional=True), EnvEntry("B", "$(A)")], {}) == {"B": "$(A)"}
    assert resolve([EnvEntry("A", secret="KEY")], {"KEY": ""}) == {"A": ""}, "empty is a value: a provider that isn't used"
