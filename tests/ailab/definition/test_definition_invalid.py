"""Each fixture is one mistake in the small definition, with the exact messages that it must give."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from ailab.definition.load import load
from ailab.definition.problems import DefinitionError
from tests.fixtures.definitions import FOLDER, SMALL, copy_small

FIXTURES = sorted((FOLDER / "invalid").glob("*.toml"))


@pytest.mark.parametrize("path", FIXTURES, ids=[p.stem for p in FIXTURES])
def test_a_mistake_gives_exactly_its_messages(path: Path, tmp_path: Path) -> None:
    fixture: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    assert fixture.keys() == {"expected", "edit"}
    assert fixture["expected"]
    root = copy_small(tmp_path / "lab", fixture["edit"])
    with pytest.raises(DefinitionError) as caught:
        load(root)
    assert [str(p) for p in caught.value.problems] == fixture["expected"]
    assert str(caught.value) == "\n".join(fixture["expected"])


def test_there_are_enough() -> None:
    assert len(FIXTURES) >= 40


def test_each_begins_with_what_it_is() -> None:
    for path in FIXTURES:
        first = path.read_text("utf-8").splitlines()[0]
        assert first.startswith("# "), path.name
        assert first.endswith("."), path.name


def test_no_message_shows_a_secret() -> None:
    """In the fixtures every secret's value that stands in a wrong line is this word."""
    texts = [tomllib.loads(p.read_text("utf-8")) for p in FIXTURES]
    assert sum("hunter2" in str(t["edit"]) for t in texts) >= 5
    assert not any("hunter2" in m for t in texts for m in t["expected"])


def test_messages_have_place_cause_and_way_out() -> None:
    for path in FIXTURES:
        for message in tomllib.loads(path.read_text("utf-8"))["expected"]:
            place, _, rest = message.partition(": ")
            cause, _, way_out = rest.removesuffix(")").partition(" (")
            assert place, message
            assert cause, message
            assert message.endswith(")"), message
            assert way_out, message
            assert "\n" not in message
            assert "pydantic" not in message.lower()


def test_the_small_definition_is_valid_as_it_stands(tmp_path: Path) -> None:
    assert load(SMALL).secrets == {}, "before the first `up` there is no .env"
    definition = load(copy_small(tmp_path))
    assert definition.services == ["litellm", "llama-cpp", "postgresql"]
    assert definition.secrets.keys() == {"POSTGRES_PASSWORD", "LITELLM_MASTER_KEY", "LITELLM_DB_PASSWORD", "OPENAI_API_KEY"}
    assert not any(v in repr(definition) for v in definition.secrets.values() if v)
