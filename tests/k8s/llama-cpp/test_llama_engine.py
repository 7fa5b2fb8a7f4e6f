"""The real engine with its real models, as the manifest starts it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.k8s.engine import QUESTION, Engine, running

pytestmark = pytest.mark.e2e
CHAT, EMBEDDINGS = 8080, 8081
# The first numbers for the question about France, computed from the published weights in whole floats by numpy.
REFERENCE = [0.082048, 0.036055, -0.003893, -0.004881]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running("llama-cpp", tmp_path_factory.mktemp("llama cpp")) as found:
        yield found


def test_the_models_go_by_their_aliases(engine: Engine) -> None:
    assert [model["id"] for model in engine.get("/v1/models", CHAT)["data"]] == ["smollm2"]
    assert [model["id"] for model in engine.get("/v1/models", EMBEDDINGS)["data"]] == ["minilm"]


def test_it_knows_the_capital_of_france(engine: Engine) -> None:
    answer = engine.post("/v1/chat/completions", {"model": "smollm2", "temperature": 0, "messages": QUESTION}, CHAT)
    assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."
    assert answer["usage"]["completion_tokens"] == 8


def test_an_answer_streams_word_by_word(engine: Engine) -> None:
    with engine.stream("/v1/chat/completions", {"temperature": 0, "stream": True, "messages": QUESTION}, CHAT) as lines:
        events = [line for line in lines if line.startswith(b"data: ")]
    assert len(events) > 8
    assert events[-1].strip() == b"data: [DONE]"


def test_no_two_answers_share_an_id(engine: Engine) -> None:
    """The gateway keeps what was spent under that id: a second answer of the same id would vanish."""

    def ask(number: int) -> str:
        body = {"max_tokens": 2, "messages": [{"role": "user", "content": f"Count to {number}."}]}
        return str(engine.post("/v1/chat/completions", body, CHAT)["id"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(40)))) == 40


def test_a_prompt_that_is_too_long_is_refused(engine: Engine) -> None:
    body = {"messages": [{"role": "user", "content": "x " * 5000}]}
    with pytest.raises(urllib.error.HTTPError) as caught:
        engine.post("/v1/chat/completions", body, CHAT)
    assert caught.value.code == 400
    assert b"exceeds the available context size (4096 tokens)" in caught.value.read()


def test_prometheus_can_read_both(engine: Engine) -> None:
    for port in (CHAT, EMBEDDINGS):
        assert "\nllamacpp:prompt_tokens_total " in engine.text("/metrics", port)


def test_what_a_browser_elsewhere_asks_is_not_shared(engine: Engine) -> None:
    request = urllib.request.Request(engine.url("/v1/models", CHAT), headers={"Origin": "https://elsewhere.example"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] is None


def embed(engine: Engine, *texts: str) -> list[list[float]]:
    found = engine.post("/v1/embeddings", {"model": "minilm", "input": list(texts)}, EMBEDDINGS)["data"]
    return [each["embedding"] for each in found]


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_embeddings_are_those_of_the_reference(engine: Engine) -> None:
    (found,) = embed(engine, "What is the capital of France?")
    assert found[:4] == pytest.approx(REFERENCE, abs=2e-4)
    assert likeness(found, found) == pytest.approx(1, abs=1e-4)


def test_meaning_decides_not_case_or_accents(engine: Engine) -> None:
    question, answer, shouted, other = embed(
        engine, "What is the capital of France?", "Paris is France's capital.", "WHÁT IS THE CAPITAL OF FRANCE?", "I like cheese."
    )  # fmt: skip
    assert likeness(question, shouted) == pytest.approx(1, abs=1e-4)
    assert likeness(question, answer) > 0.7 > 0.3 > likeness(question, other)
