"""The small readers: YAML, near words, images, addresses."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailab.definition.crosschecks import image_tag, split, upstream
from ailab.definition.gateway import leads_to
from ailab.definition.manifests import load_yaml
from ailab.definition.problems import DefinitionError, Problem, did_you_mean
from tests.fixtures.fuzz import QUICK

WORD = st.text(string.ascii_lowercase + "-", min_size=1, max_size=12)
REPOSITORY = st.from_regex(r"(ghcr\.io/|localhost:5000/|127\.0\.0\.1:80/)?[a-z]{1,8}(/[a-z.-]{1,8})?", fullmatch=True)


@QUICK
@given(st.one_of(st.text(), st.text(alphabet="[]{}:,-?!&*|>'\"#% \n\tab01.~<=e"), st.lists(st.sampled_from(
    ["a: ", "- ", "\n", "  ", "!!int ", "!!float ", "!!set ", "&x ", "*x", "[", "]", "{", "}", "? ", "<<: ", "'", '"', "|", "1", "~", "---\n", "2024-01-01"]
)).map("".join)))  # fmt: skip
def test_any_text_is_read_or_refused(text: str) -> None:
    data, problems = load_yaml(text, "file.yml")
    assert not (problems and data is not None)
    for problem in problems:
        assert str(problem).startswith("file.yml")
        assert "\n" not in str(problem)


@pytest.mark.parametrize(
    "text",
    [
        'x: !!int ""', "x: !!int many", 'x: !!float ""', "x: !!bool perhaps", "x: !!timestamp never", "x: !!binary é", "x: !!map [a]", "x: !!pairs a",
        "x: !!python/object/apply:os.system [id]", "x: !own 1", "? [a]\n: b", "? {a: b}\n: c", "<<: 1", "x: &a [*a]", "x: &a {y: *a}", "x: *nobody",
        "a: 1\na: 2", "x: {a: 1, a: 2}", "a: 1\n---\nb: 2", "\x00", "a: 'b",
    ],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    data, problems = load_yaml(text, "file.yml")
    assert data is None
    assert len(problems) == 1


def test_yaml_is_read_as_kubectl_reads_it() -> None:
    assert load_yaml("a: 2024-01-01\nb: &x {c: 1}\nd: *x\ne: {<<: *x, f: 2}", "")[0] == {
        "a": "2024-01-01", "b": {"c": 1}, "d": {"c": 1}, "e": {"c": 1, "f": 2},
    }  # fmt: skip


@QUICK
@given(WORD, st.sets(WORD, max_size=6))
def test_the_way_out_of_an_unknown_word_is_a_known_one(word: str, allowed: set[str]) -> None:
    said = did_you_mean(word, allowed)
    if word in allowed:
        assert said == f"did you mean {word}?"
    elif said.startswith("did you mean "):
        assert said.removeprefix("did you mean ").removesuffix("?") in allowed
    else:
        assert said == ("allowed: " + ", ".join(sorted(allowed)) if allowed else "nothing is allowed here")


@pytest.mark.parametrize(("word", "said"), [("grafna", "grafana"), ("litelm", "litellm"), ("open_webui", "open-webui")])
def test_typing_errors_find_their_word(word: str, said: str) -> None:
    assert did_you_mean(word, ["grafana", "litellm", "open-webui", "phoenix"]) == f"did you mean {said}?"


def test_problems_are_sorted_and_told_once() -> None:
    b, a = Problem("b", "x", "y"), Problem("a", "x", "y")
    assert str(DefinitionError([b, a, b])) == "a: x (y)\nb: x (y)"


@QUICK
@given(REPOSITORY, st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True), st.booleans(), st.booleans())
def test_images_come_apart(repository: str, tag: str, tagged: bool, pinned: bool) -> None:
    image = repository + (f":{tag}" if tagged else "") + (f"@sha256:{'0' * 64}" if pinned else "")
    assert image_tag(image) == (repository, tag if tagged else "")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://ollama.ai-lab.svc.cluster.local:11434", ("ollama", 11434)),
        ("http://llama-cpp.ai-lab.svc.cluster.local:8080/v1", ("llama-cpp", 8080)),
        ("http://LiteLLM.ai-lab.svc.cluster.local", ("litellm", 80)),
        ("https://vllm.ai-lab.svc.cluster.local/v1", ("vllm", 443)),
        ("https://api.openai.com/v1", (None, None)),
        ("http://evil.example/ollama.ai-lab.svc.cluster.local", (None, None)),
        ("http://ollama.other.svc.cluster.local:1", (None, None)),
        ("http://ollama:11434", (None, None)),
        ("", (None, None)),
        ("no url", (None, None)),
    ],
)
def test_upstreams(url: str, found: tuple[str | None, int | None]) -> None:
    assert upstream(url) == found


@QUICK
@given(st.text() | st.text(alphabet="http:/.@[]?#0159 ai-lab.svc.cluster.local"))
def test_any_text_is_an_upstream_or_none(text: str) -> None:
    try:
        service, port = upstream(text)
    except ValueError:
        return
    assert (service is None) == (port is None)


@QUICK
@given(st.lists(WORD), st.sampled_from([",", ", ", " ", " ,\n"]))
def test_lists_of_words(words: list[str], separator: str) -> None:
    assert split(separator.join(words)) == words


def test_aliases_with_a_star_lead_to_what_they_match() -> None:
    names = {"local/tiny", "openrouter/*"}
    assert leads_to("local/tiny", names)
    assert leads_to("openrouter/meta/large", names)
    assert not leads_to("local/other", names)
    assert not leads_to("open", names)
