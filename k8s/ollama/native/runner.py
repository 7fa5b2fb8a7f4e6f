"""What Ollama calls llama-server, over PyPI xllamacpp: the release brings such a program, Go's module proxy can't.

Ollama (its discover/llama_server.go and llm/llama_server.go) calls it in three ways: without a model, to read one line
about the system from it; with --list-devices; and with a model, to serve it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

# Ollama ends the process as soon as it has read the line; this bounds the wait should it not.
DISCOVERY_S = 60


def system_info(library: ModuleType) -> str:
    return f"system_info: {library.get_system_info().strip()}"


def _line(device: dict[str, Any]) -> str:
    total, free = device["memory_total"] >> 20, device["memory_free"] >> 20
    return f"  {device['name']}: {device['description']} ({total} MiB, {free} MiB free)"


def devices(library: ModuleType) -> list[str]:
    """The GPUs that this build of the library can use, as llama-server lists them."""
    gpu = library.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU
    return [_line(device) for device in library.get_device_info() if device["type"] == gpu]


def run(argv: Sequence[str], library: ModuleType, serve: Callable[[Sequence[str]], int]) -> int:
    if "--list-devices" in argv:
        print("Available devices:", *devices(library), sep="\n", flush=True)
        return 0
    if "--model" not in argv:
        print(system_info(library), file=sys.stderr, flush=True)
        time.sleep(DISCOVERY_S)
        return 0
    return serve(argv)


if __name__ == "__main__":
    # Isolated Python looks in no folder but its own; llama.cpp's holds the launcher.
    sys.path.append(sys.argv[1])
    sys.dont_write_bytecode = True
    import llama_server
    import xllamacpp

    sys.exit(run(sys.argv[2:], xllamacpp, llama_server.main))
