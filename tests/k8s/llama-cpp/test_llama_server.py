"""The launcher reads llama-server's command line, as the manifest writes it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

SERVICE = Path(__file__).parents[3] / "k8s" / "llama-cpp"
SCRIPT = SERVICE / "native" / "llama_server.py"


@pytest.fixture(scope="module")
def launcher() -> ModuleType:
    spec = importlib.util.spec_from_file_location("llama_server", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def manifest_args() -> dict[str, list[str]]:
    deployment = yaml.safe_load((SERVICE / "deployment.yml").read_text())
    return {each["name"]: each["args"] for each in deployment["spec"]["template"]["spec"]["containers"]}


def test_the_manifest_of_the_chat_engine(launcher: ModuleType) -> None:
    assert launcher.parse(manifest_args()["llama-cpp"]) == {
        "model.path": "/models/SmolLM2-135M-Instruct.Q4_1.gguf",
        "model_alias": {"smollm2"},
        "hostnames": ["0.0.0.0"],
        "port": 8080,
        "n_ctx": 4096,
        "n_parallel": 2,
        "kv_unified": True,
        "n_ubatch": 128,
        "cache_ram_mib": 0,
        "cpuparams.n_threads": 2,
        "chat_template": "chatml",
        "sampling.temp": 0.0,
        "sampling.penalty_repeat": 1.1,
        "cpuparams.poll": 0,
        "warmup": False,
        "ui": False,
        "endpoint_slots": False,
        "endpoint_metrics": True,
        "cors_origins": "localhost",
    }


def test_the_manifest_of_the_embedding_engine(launcher: ModuleType) -> None:
    fields = launcher.parse(manifest_args()["embeddings"])
    assert fields["embedding"] is True
    assert fields["model_alias"] == {"minilm"}
    # A text must fit one physical batch, and each slot holds one whole text.
    assert fields["n_ubatch"] == fields["n_batch"] == fields["n_ctx"] // fields["n_parallel"]


def test_the_last_of_a_repeated_flag_wins(launcher: ModuleType) -> None:
    fields = launcher.parse(["--model", "a.gguf", "--host", "0.0.0.0", "-m", "b.gguf", "--host", "127.77.1.2"])
    assert fields == {"model.path": "b.gguf", "hostnames": ["127.77.1.2"]}


def test_a_list_of_names(launcher: ModuleType) -> None:
    assert launcher.parse(["-m", "a.gguf", "-a", "one, two"])["model_alias"] == {"one", "two"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-m", "a.gguf", "--paralel", "2"], "--paralel: not an option of this launcher; did you mean --parallel?"),
        (["-m", "a.gguf", "--port"], "--port: wants a value"),
        (["-m", "a.gguf", "--port", "http"], "--port: wants a whole number, got 'http'"),
        (["-m", "a.gguf", "--pooling", "max"], "--pooling: must be one of none, mean, cls, last, rank, got 'max'"),
        (["-m", "a.gguf", "-fa", "yes"], "-fa: must be one of auto, on, off, got 'yes'"),
        (["--port", "1"], "--model: wants the path of a GGUF file"),
        ([], "--model: wants the path of a GGUF file"),
    ],
)
def test_what_is_wrong_is_named(launcher: ModuleType, argv: list[str], message: str) -> None:
    with pytest.raises(launcher.UsageError) as caught:
        launcher.parse(argv)
    assert str(caught.value) == message


def test_an_unrelated_word_gets_the_list(launcher: ModuleType) -> None:
    with pytest.raises(launcher.UsageError, match=r"^zzz: not an option of this launcher; known are --alias "):
        launcher.parse(["zzz"])


def test_a_missing_model_ends_before_the_engine_is_loaded(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), "--model", str(tmp_path / "none.gguf")],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr == f"llama-server: --model: {tmp_path}/none.gguf can't be read\n"
