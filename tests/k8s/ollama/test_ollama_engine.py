"""A real Ollama: the first model is there without a network, answers, and makes room again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.k8s.engine import QUESTION, Engine, running

# Built from source, cold, on two cores: seven minutes.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running("ollama", tmp_path_factory.mktemp("ol lama")) as found:
        yield found


def test_it_is_the_version_of_the_manifest(engine: Engine) -> None:
    assert engine.get("/api/version") == {"version": "0.34.0"}


def test_the_first_model_answers(engine: Engine) -> None:
    assert [model["id"] for model in engine.get("/v1/models")["data"]] == ["smollm2:latest"]
    answer = engine.post("/v1/chat/completions", {"model": "smollm2", "temperature": 0, "messages": QUESTION})
    assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."


def test_a_model_makes_room_when_told_to(engine: Engine) -> None:
    engine.post("/api/generate", {"model": "smollm2", "prompt": "Hello", "options": {"num_predict": 1}, "stream": False})
    assert [model["name"] for model in engine.get("/api/ps")["models"]] == ["smollm2:latest"]
    engine.post("/api/generate", {"model": "smollm2", "keep_alive": 0})
    end = time.monotonic() + 30
    while engine.get("/api/ps")["models"]:
        assert time.monotonic() < end, "the model is still loaded after 30 s"
        time.sleep(0.1)
