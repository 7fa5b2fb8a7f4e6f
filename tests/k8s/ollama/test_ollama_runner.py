"""The runner that Ollama calls when it was built from source, and what the build puts beside the program."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

SERVICE = Path(__file__).parents[3] / "k8s" / "ollama"
LAUNCHER = SERVICE.parent / "llama-cpp" / "native"

# What Ollama 0.34.0 was seen to call.
SERVE = """
    --model /m/sha256-1 --port 42535 --host 127.0.0.1 --no-webui --offline -c 16384 -np 2 --log-verbosity 4
    --no-log-prefix --no-log-timestamps --no-jinja --chat-template chatml --load-mode none --flash-attn auto
    -b 1024 -ub 1024 --context-shift --keep 4
"""


def load(path: Path) -> ModuleType:
    """A script as a module of a name of its own: other services have a build.py too."""
    spec = importlib.util.spec_from_file_location(f"ollama_test_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Library(SimpleNamespace):
    """As much of xllamacpp as the runner asks about the machine."""

    ggml_backend_dev_type = SimpleNamespace(GGML_BACKEND_DEVICE_TYPE_GPU=1)

    def get_system_info(self) -> str:
        return "CPU : AVX2 = 1 | "

    def get_device_info(self) -> list[dict[str, object]]:
        cpu = {"name": "CPU", "description": "a CPU", "memory_free": 1 << 30, "memory_total": 2 << 30, "type": 0}
        gpu = {"name": "CUDA0", "description": "a GPU", "memory_free": 3 << 30, "memory_total": 4 << 30, "type": 1}
        return [cpu, gpu]


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.fixture
def runner() -> ModuleType:
    return load(SERVICE / "native" / "runner.py")


@pytest.fixture
def build() -> ModuleType:
    return load(SERVICE / "native" / "build.py")


def refuse(argv: object) -> int:
    raise AssertionError(f"serves {argv}")


def test_devices_are_the_gpus_alone(runner: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.run(["--list-devices", "--offline", "--verbose"], Library(), refuse) == 0
    assert capsys.readouterr().out == "Available devices:\n  CUDA0: a GPU (4096 MiB, 3072 MiB free)\n"


def test_without_a_model_it_tells_about_the_system_and_waits(runner: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(runner.time, "sleep", slept.append)
    assert runner.run(["--port", "1", "--host", "127.0.0.1", "--no-webui", "--offline", "--verbose"], Library(), refuse) == 0
    assert capsys.readouterr().err == "system_info: CPU : AVX2 = 1 |\n"
    assert slept == [runner.DISCOVERY_S]


def test_with_a_model_it_serves(runner: ModuleType) -> None:
    assert runner.run(SERVE.split(), Library(), lambda argv: list(argv)) == SERVE.split()


def test_the_launcher_knows_what_ollama_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = SimpleNamespace(
        llama_load_mode=SimpleNamespace(LLAMA_LOAD_MODE_NONE="none"),
        llama_flash_attn_type=SimpleNamespace(LLAMA_FLASH_ATTN_TYPE_AUTO="auto"),
    )
    monkeypatch.setitem(sys.modules, "xllamacpp", names)
    assert load(LAUNCHER / "llama_server.py").parse(SERVE.split()) == {
        "model.path": "/m/sha256-1",
        "port": 42535,
        "hostnames": ["127.0.0.1"],
        "ui": False,
        "offline": True,
        "n_ctx": 16384,
        "n_parallel": 2,
        "verbosity": 4,
        "use_jinja": False,
        "chat_template": "chatml",
        "load_mode": "none",
        "flash_attn_type": "auto",
        "n_batch": 1024,
        "n_ubatch": 1024,
        "ctx_shift": True,
        "n_keep": 4,
    }


@pytest.fixture
def built(build: ModuleType, tmp_path: Path) -> Path:
    """Folders with spaces in their names, and a Python that prints its arguments."""
    llama_cpp, smollm2, ollama = (tmp_path / name for name in ("llama cpp", "smol lm2", "ol lama"))
    for folder in (llama_cpp / "bin", smollm2, ollama):
        folder.mkdir(parents=True)
    (smollm2 / "model.gguf").touch()
    (llama_cpp / "bin" / "python").write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    (llama_cpp / "bin" / "python").chmod(0o755)
    build.main(ollama, llama_cpp, smollm2, SERVICE / "native" / "runner.py")
    return ollama


def test_the_commands_that_ollama_looks_for(built: Path) -> None:
    libraries = built / "lib" / "ollama"
    said = subprocess.run([libraries / "llama-server", "--port", "1 2"], capture_output=True, text=True, check=True).stdout
    root = built.parent
    assert said.splitlines() == ["-I", f"{libraries}/runner.py", f"{root}/llama cpp", "--port", "1 2"]


def test_the_copy_that_create_asks_for(built: Path, tmp_path: Path) -> None:
    quantize = built / "lib" / "ollama" / "llama-quantize"
    (tmp_path / "in").write_text("weights")
    subprocess.run([quantize, "--allow-requantize", tmp_path / "in", tmp_path / "out", "COPY"], check=True)
    assert (tmp_path / "out").read_text() == "weights"
    refused = subprocess.run([quantize, tmp_path / "in", tmp_path / "out2", "Q4_K_M"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("llama-quantize: this build can't make Q4_K_M;")


def test_the_first_model_is_the_one_of_the_provider(built: Path) -> None:
    assert (built / "smollm2.Modelfile").read_text().splitlines()[0] == f"FROM {built.parent}/smol lm2/model.gguf"


def test_a_release_keeps_its_runner(build: ModuleType, built: Path) -> None:
    root = built.parent
    shutil.rmtree(built / "lib")
    build.main(built, root / "llama cpp", root / "smol lm2")
    assert not (built / "lib").exists()


@pytest.mark.parametrize(("first_model", "calls"), [("", []), ("a.Modelfile", ["show smollm2", "create smollm2 -f a.Modelfile"])])
def test_the_first_model_is_made_where_one_is_named(tmp_path: Path, first_model: str, calls: list[str]) -> None:
    """The manifest's own postStart command, against an `ollama` that has no model and says what it is asked."""
    deployment = yaml.safe_load((SERVICE / "deployment.yml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    program = tmp_path / "ollama"
    program.write_text('#!/bin/sh\necho "$*" >>"$ASKED"\n[ "$1" = create ]\n')
    program.chmod(0o755)
    asked = tmp_path / "asked"
    asked.touch()
    env = {"PATH": f"{tmp_path}:{os.defpath}", "FIRST_MODEL": first_model, "ASKED": str(asked)}
    subprocess.run(container["lifecycle"]["postStart"]["exec"]["command"], env=env, check=True, timeout=30)
    assert asked.read_text().splitlines() == calls
