""".env: read without surprises, made once and for its owner alone."""

from __future__ import annotations

import os
import re
import stat
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailab.definition import dotenv
from tests.conftest import ROOT
from tests.fixtures.fuzz import QUICK

EXAMPLE = (ROOT / ".env.example").read_text("utf-8")
SECRET = "s3cretVALUE"


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("A=b", {"A": "b"}),
        ("  A=b  ", {"A": "b"}),
        ("export A=b", {"A": "b"}),
        ("A= b c ", {"A": "b c"}),
        ("A=", {"A": ""}),
        ("A='b # c'", {"A": "b # c"}),
        ('A="b"', {"A": "b"}),
        ("A='b\"'", {"A": "b\""}),
        ("A=''", {"A": ""}),
        ("A=b=c", {"A": "b=c"}),
        ("A=b#c", {"A": "b#c"}),
        ("A=$HOME`id`", {"A": "$HOME`id`"}),
        ("A=b\r", {"A": "b"}),
        ("# A=b", {}),
        ("", {}),
    ],
)
def test_lines(line: str, values: dict[str, str]) -> None:
    assert dotenv.parse(line, ".env") == (values, [])


def test_only_line_ends_end_lines() -> None:
    """Python's splitlines also splits at these; an editor's line numbers would not fit."""
    values, problems = dotenv.parse("A=b\x0cc\nB=d\u2028e\nnonsense\n", ".env")
    assert values == {"A": "b\x0cc", "B": "d\u2028e"}
    assert [p.place for p in problems] == [".env:3"]


@QUICK
@given(st.one_of(st.text(), st.text(alphabet="AB=_'\"# \n\r\t\0export{random:}9")))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    values, problems = dotenv.parse(text, ".env")
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in values)
    assert not any("\0" in v or "\n" in v for v in values.values())
    assert len(values) + len(problems) <= text.count("\n") + 1


@QUICK
@given(st.text(alphabet="AB_=' \"#9"), st.text(alphabet="AB_' \"#9\0"), st.booleans())
def test_no_problem_shows_a_value(before: str, after: str, named: bool) -> None:
    line = ("NAME=" if named else "") + before + SECRET + after
    _, problems = dotenv.parse(f"{line}\nNAME=1\nNAME={SECRET}\n", ".env")
    assert problems
    assert not any(SECRET in str(p) for p in problems)


@QUICK
@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.integers(1, 64) | st.text(string.ascii_letters)))
def test_a_filled_template_has_no_placeholder(template: dict[str, int | str]) -> None:
    text = "".join(f"# about {n}\n{n}=" + (f"sk-{{random:{v}}}" if isinstance(v, int) else v) + "\n" for n, v in template.items())
    values, problems = dotenv.parse(dotenv.fill(text), ".env")
    assert problems == []
    assert values.keys() == template.keys()
    for name, wanted in template.items():
        if isinstance(wanted, int):
            assert re.fullmatch(rf"sk-[A-Za-z0-9]{{{wanted}}}", values[name])
        else:
            assert values[name] == wanted


def test_no_two_secrets_are_alike() -> None:
    known, _ = dotenv.parse(EXAMPLE, ".env.example")
    first, _ = dotenv.parse(dotenv.fill(EXAMPLE), ".env")
    second, _ = dotenv.parse(dotenv.fill(EXAMPLE), ".env")
    made = [v[n] for v in (first, second) for n, t in known.items() if "{random:" in t]
    assert len(made) == len(set(made)) >= 20


def test_the_example_explains_every_secret_and_needs_no_cloud() -> None:
    known, problems = dotenv.read_example(ROOT / ".env.example")
    assert problems == []
    assert {n for n, t in known.items() if not t} == {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY"}


def test_what_is_made_is_what_can_be_read(tmp_path: Path) -> None:
    assert dotenv.make(ROOT / ".env.example", tmp_path / ".env")
    known, _ = dotenv.read_example(ROOT / ".env.example")
    values, problems = dotenv.read(tmp_path / ".env", known)
    assert problems == []
    assert values.keys() == known.keys()


def test_it_is_complete_and_private_from_the_moment_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, seen = os.link, []

    def watched(source: Path, target: Path) -> None:
        seen.append((stat.S_IMODE(Path(source).stat().st_mode), Path(source).read_text("utf-8").count("\n"), target.exists()))
        link(source, target)

    monkeypatch.setattr(os, "link", watched)
    before = os.umask(0)
    try:
        assert dotenv.make(ROOT / ".env.example", tmp_path / ".env")
    finally:
        os.umask(before)
    assert seen == [(0o600, EXAMPLE.count("\n"), False)]
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == [".env"]


def test_it_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n")
    assert not dotenv.make(ROOT / ".env.example", tmp_path / ".env")
    assert (tmp_path / ".env").read_text() == "MINE=1\n"


def test_of_many_at_once_one_makes_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: (dotenv.make(ROOT / ".env.example", tmp_path / ".env"), (tmp_path / ".env").read_bytes()), range(8)))
    assert sum(written for written, _ in made) == 1
    assert len({content for _, content in made}) == 1, "nobody saw another's file or half of one"
    assert [p.name for p in tmp_path.iterdir()] == [".env"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dotenv.make(tmp_path / "no.example", tmp_path / ".env")
    assert list(tmp_path.iterdir()) == []
