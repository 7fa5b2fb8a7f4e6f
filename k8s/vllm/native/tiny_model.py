"""A Llama of random weights, 0.2 MB, made here: with it vLLM starts and answers where no model can be fetched.

What it says is noise in printable ASCII. Usage: tiny_model.py FOLDER
"""

from __future__ import annotations

import json
import random
import string
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPECIAL = ["<unk>", "<|im_start|>", "<|im_end|>"]
# One token for each character: nothing else can be said, so that every answer is text.
VOCABULARY = [*SPECIAL, *string.printable[:95], "\n"]
# vLLM's attention for CPUs wants heads of 32 numbers at least.
WIDTH, INNER, LAYERS, HEADS, CONTEXT = 64, 128, 2, 2, 2048
SPREAD = 0.1

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def config() -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "vocab_size": len(VOCABULARY),
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "max_position_embeddings": CONTEXT,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": VOCABULARY.index("<|im_start|>"),
        "eos_token_id": VOCABULARY.index("<|im_end|>"),
    }


def tokenizer() -> dict[str, Any]:
    """Character by character, in the format of the library `tokenizers`."""
    special = [
        {"id": number, "content": word, "special": True, "normalized": False} | {"single_word": False, "lstrip": False, "rstrip": False}
        for number, word in enumerate(SPECIAL)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": False,
            "vocab": {word: number for number, word in enumerate(VOCABULARY)},
            "merges": [],
        },
    }


def tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (len(VOCABULARY), WIDTH)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield f"{at}self_attn.{name}.weight", (WIDTH, WIDTH)
        for name in ("gate_proj", "up_proj"):
            yield f"{at}mlp.{name}.weight", (INNER, WIDTH)
        yield f"{at}mlp.down_proj.weight", (WIDTH, INNER)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}{name}.weight", (WIDTH,)
    yield "model.norm.weight", (WIDTH,)
    yield "lm_head.weight", (len(VOCABULARY), WIDTH)


def weights(seed: int = 0) -> bytes:
    """A safetensors file (https://github.com/huggingface/safetensors#format)."""
    chance = random.Random(seed)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, shape in shapes():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        # A norm's weights scale what passes: one leaves it as it is.
        numbers = [1.0] * count if len(shape) == 1 else [chance.gauss(0, SPREAD) for _ in range(count)]
        # A bfloat16 is the first half of a float.
        data = b"".join(struct.pack(">f", number)[1::-1] for number in numbers)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("config", config()), ("tokenizer", tokenizer()), ("tokenizer_config", tokenizer_config())):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1))
    (folder / "model.safetensors").write_bytes(weights())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
