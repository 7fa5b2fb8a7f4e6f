"""A real vLLM on a CPU, with the model that was made here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.k8s.engine import QUESTION, Engine, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running("vllm", tmp_path_factory.mktemp("vl lm")) as found:
        yield found


def test_the_model_says_what_it_is(engine: Engine) -> None:
    assert [model["id"] for model in engine.get("/v1/models")["data"]] == ["tiny-llama"]


def test_it_answers_in_text(engine: Engine) -> None:
    answer = engine.post("/v1/chat/completions", {"model": "tiny-llama", "max_tokens": 20, "messages": QUESTION})
    assert answer["usage"]["completion_tokens"] == 20
    said = answer["choices"][0]["message"]["content"]
    assert said.isascii()
    assert len(said) >= 15


def test_prometheus_can_read_it(engine: Engine) -> None:
    assert "vllm:prompt_tokens_total{" in engine.text("/metrics")
