"""The command line as a person calls it, on a copy of the small definition, with nothing running."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from ailab import cli
from ailab.definition.load import load
from ailab.render import render
from tests.conftest import ROOT
from tests.fixtures.definitions import copy_small


class Done(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]
# A network that no lab of this machine has, so that nothing answers there.
EDIT = {"file": "lab.toml", "replace": "port = 8800", "by": 'port = 8799\nnetwork = "127.99.0.0/16"'}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the small definition; its path holds a space."""
    root = copy_small(tmp_path_factory.mktemp("cli") / "my lab", [EDIT])
    shutil.copytree(ROOT / "ailab", root / "ailab")
    return root


@pytest.fixture
def run(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls a command there, within this process."""

    def call(*arguments: str, root: Path = lab) -> Done:
        monkeypatch.setattr(cli, "root", lambda: root)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err, pytest.raises(SystemExit) as ended:
            cli.app(list(arguments), prog_name="lab")
        return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    return call


def process(lab: Path, *arguments: str) -> Done:
    """The same as a process of its own, as `./lab` starts it."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": str(lab)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ailab", *arguments], cwd="/", env=env, stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=60, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


# arguments, exit code, what stderr is
REFUSED = [
    (["status"], 1, "lab: the lab is not up (./lab up starts it)\n"),
    (["restart", "litellm"], 1, "lab: the lab is not up (./lab up starts it)\n"),
    (["open", "litellm"], 1, "lab: the lab is not up (./lab up starts it)\n"),
    (["check"], 1, "lab: the lab is not up (./lab up starts it)\n"),
    (["chat", "hello"], 1, "lab: the gateway does not answer (./lab up starts the lab, ./lab status shows it)\n"),
    (["chat", "-"], 2, "lab: nothing to say (give the message as an argument, or - and text on standard input)\n"),
    (["chat", "hello", "--model", "local/tinny"], 2, "lab: no model is named 'local/tinny' (did you mean local/tiny?)\n"),
    (["render", "--service", "litelm"], 2, "lab: no service is named 'litelm' (did you mean litellm?)\n"),
    (["logs", "litellm"], 2, "lab: no log of 'litellm' (the lab has not run yet)\n"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSED, ids=[" ".join(a) for a, _, _ in REFUSED])
def test_what_is_refused(run: Run, arguments: list[str], code: int, said: str) -> None:
    assert run(*arguments) == (code, "", said)


@pytest.mark.parametrize("arguments", [["restat"], ["status", "--jsn"], ["logs"], ["logs", "litellm", "--tail", "-1"], ["open"]])
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Usage: ")


def test_as_a_process_it_ends_the_same_way(lab: Path) -> None:
    arguments, code, said = REFUSED[0]
    assert process(lab, *arguments) == (code, "", said)
    assert process(lab, "logs", "--tail", "-1").returncode == 2


def test_without_a_command_it_shows_them(run: Run) -> None:
    done = run()
    assert "Bring the lab up" in done.stdout + done.stderr


def test_json_of_a_lab_that_is_down(run: Run) -> None:
    status, down = run("status", "--json"), run("down", "--json")
    assert (status.returncode, json.loads(status.stdout)) == (1, {"pods": []})
    assert (down.returncode, json.loads(down.stdout)) == (0, {"stopped": False})
    assert (status.stderr, down.stderr) == ("", "")


def test_down_of_a_lab_that_is_down_is_done(run: Run) -> None:
    assert run("down") == (0, "the lab was not up\n", "")


def test_version(run: Run, lab: Path) -> None:
    done, data = process(lab, "version"), json.loads(run("version", "--json").stdout)
    assert done.returncode == 0
    assert re.search(r"^ailab \d+\.\d+\.\d+ \(Python 3\.", done.stdout)
    assert re.search(r"^litellm +ghcr\.io/berriai/litellm +v1\.2\.3$", done.stdout, re.MULTILINE)
    assert data.keys() == {"ailab", "python", "images"}
    assert data["images"] == {
        "litellm": ["ghcr.io/berriai/litellm:v1.2.3"],
        "llama-cpp": ["ghcr.io/example/fetch:1.0", "ghcr.io/example/llama:server-1", "ghcr.io/example/llama:server-1"],
        "postgresql": ["postgres:18.1"],
    }


def test_render(run: Run, lab: Path) -> None:
    definition = load(lab)
    as_yaml, as_json = process(lab, "render"), run("render", "--json", "--service", "litellm")
    assert (as_yaml.returncode, as_yaml.stderr) == (0, "")
    assert list(yaml.safe_load_all(as_yaml.stdout)) == render(definition)
    assert json.loads(as_json.stdout) == {"apiVersion": "v1", "kind": "List", "items": render(definition, "litellm")}
    assert not any(v in as_yaml.stdout for v in definition.secrets.values() if v)


def test_render_with_secrets(run: Run, lab: Path) -> None:
    done = run("render", "--secrets", "--service", "postgresql")
    made = [o for o in yaml.safe_load_all(done.stdout) if o["kind"] == "Secret"]
    secrets = load(lab).secrets
    assert [o["stringData"] for o in made] == [{k: secrets[k] for k in ("LITELLM_DB_PASSWORD", "POSTGRES_PASSWORD")}]


def test_render_diff(run: Run) -> None:
    done = run("render", "--diff")
    lines = done.stdout.splitlines()
    changed = [line for line in lines if line.startswith("+ ") or line.startswith("+  ")]
    assert done.returncode == 0
    assert "--- StatefulSet/postgresql (manifest)" in lines
    assert "+++ StatefulSet/postgresql (rendered)" in lines
    assert any("postgres:18.1@sha256:" in line for line in changed)
    assert any("ailab.dev/config-checksum:" in line for line in changed)
    assert not any("Service/" in line for line in lines), "what rendering leaves alone is not shown"


def test_a_broken_definition_is_told_whole_and_changes_nothing(run: Run, lab: Path, tmp_path: Path) -> None:
    root = copy_small(tmp_path / "lab", [EDIT, {"file": "lab.toml", "append": "prot = 1\n"}, {"file": ".env", "mode": "0644"}])
    shutil.copytree(ROOT / "ailab", root / "ailab")
    said = "lab: .env: mode 0644 lets others read the secrets (chmod 600 .env)\nlab: lab.toml native.prot: unknown key (did you mean port?)\n"
    assert process(root, "render") == (1, "", said)
    for arguments in (["version"], ["check"], ["chat", "hello"]):
        assert run(*arguments, root=root) == (1, "", said)
    assert not (root / ".lab").exists()


def test_logs_of_a_lab_that_is_down(run: Run, lab: Path) -> None:
    folder = lab / ".lab" / "logs" / "litellm"
    folder.mkdir(parents=True)
    (folder / "litellm.log").write_text("2026-01-01T00:00:01Z one\n2026-01-01T00:00:03Z three\n")
    (folder / "sidecar.log").write_text("2026-01-01T00:00:02Z two\n")
    try:
        assert run("logs", "litellm").stdout == "[litellm] one\n[sidecar] two\n[litellm] three\n"
        assert run("logs", "litellm", "-c", "litellm", "-n", "1", "--timestamps").stdout == "2026-01-01T00:00:03Z three\n"
        for arguments, said in [
            (["litelm"], "lab: no log of 'litelm' (did you mean litellm?)\n"),
            (["litellm", "-c", "sidcar"], "lab: litellm has no container 'sidcar' (did you mean sidecar?)\n"),
        ]:
            assert run("logs", *arguments) == (2, "", said)
    finally:
        shutil.rmtree(lab / ".lab")


def test_no_command_leaves_anything_behind(lab: Path) -> None:
    """Runs last in this file: what only reports makes no state."""
    assert not (lab / ".lab").exists()


