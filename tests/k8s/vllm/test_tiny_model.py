"""The model that vLLM serves where none can be fetched: its files, without vLLM."""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "k8s" / "vllm" / "native" / "tiny_model.py"


@pytest.fixture
def tiny_model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("tiny_model", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def number(body: bytes, at: int) -> float:
    """A bfloat16, little end first."""
    (value,) = struct.unpack("<f", b"\0\0" + body[at : at + 2])
    return value


def test_all_files_are_there(tiny_model: ModuleType, tmp_path: Path) -> None:
    tiny_model.main(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_weights_lie_end_to_end(tiny_model: ModuleType) -> None:
    header, body = read(tiny_model.weights())
    header.pop("__metadata__")
    spans = [entry["data_offsets"] for entry in header.values()]
    assert [begin for begin, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert spans[-1][1] == len(body)
    assert all(entry["dtype"] == "BF16" for entry in header.values())
    vocabulary = len(tiny_model.VOCABULARY)
    assert header["lm_head.weight"]["shape"] == [vocabulary, tiny_model.WIDTH]


def test_norms_are_one_and_matrices_are_small(tiny_model: ModuleType) -> None:
    header, body = read(tiny_model.weights())
    assert number(body, header["model.norm.weight"]["data_offsets"][0]) == 1.0
    begin, end = header["lm_head.weight"]["data_offsets"]
    values = [number(body, at) for at in range(begin, end, 2)]
    assert 0.05 < max(values) < 10 * tiny_model.SPREAD
    assert abs(sum(values) / len(values)) < tiny_model.SPREAD / 10


def test_it_is_the_same_every_time(tiny_model: ModuleType) -> None:
    assert tiny_model.weights() == tiny_model.weights()
    assert tiny_model.weights() != tiny_model.weights(seed=1)


def test_every_token_is_text(tiny_model: ModuleType) -> None:
    vocabulary = tiny_model.tokenizer()["model"]["vocab"]
    assert list(vocabulary.values()) == list(range(len(tiny_model.VOCABULARY)))
    rest = [word for word in vocabulary if word not in tiny_model.SPECIAL]
    assert all(len(word) == 1 and word.isascii() and (word.isprintable() or word == "\n") for word in rest)


def test_a_head_is_as_wide_as_the_cpu_wants_it(tiny_model: ModuleType) -> None:
    config = tiny_model.config()
    assert config["hidden_size"] // config["num_attention_heads"] in (32, 64, 128)
