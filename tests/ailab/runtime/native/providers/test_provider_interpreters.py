"""Which Python an environment is made with."""

import sys
from pathlib import Path

import pytest

from ailab.runtime.native.providers.errors import BadSpec
from ailab.runtime.native.providers.interpreters import Interpreter, allowed, candidates, minor_of

REQUESTS = {
    ">=3.11": [14, 13, 12, 11],
    ">=3.11,<3.14": [13, 12, 11],
    ">= 3.11 , != 3.12": [14, 13, 11],
    ">=3.11,!=3.12.1": [14, 13, 12, 11],
    "3.12": [12],
    "==3.12.*": [12],
    "~=3.12": [14, 13, 12],
    "~=3.12.3": [12],
    "<3.13.2,>=3.12": [13, 12],
    "<=3.12": [12, 11],
    ">3.12": [14, 13],
    ">3.12.1": [14, 13, 12],
    ">=3": [14, 13, 12, 11],
}


@pytest.mark.parametrize(("request_", "minors"), REQUESTS.items(), ids=REQUESTS)
def test_requests(request_: str, minors: list[int]) -> None:
    assert allowed(request_) == minors


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("new", "python = 'new': can't be read (write it like \">=3.11,<3.14\")"),
        (">=3.11,", "python = '>=3.11,': can't be read (write it like \">=3.11,<3.14\")"),
        (">=4", "python = '>=4': can't be read (write it like \">=3.11,<3.14\")"),
        ("<3.11", "python = '<3.11': allows none of 3.11 to 3.14"),
        ("<3", "python = '<3': allows none of 3.11 to 3.14"),
    ],
)
def test_requests_that_cannot_be_met(request_: str, message: str) -> None:
    with pytest.raises(BadSpec) as caught:
        allowed(request_)
    assert str(caught.value) == message


def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, minor in [("a", 11), ("b", 13), ("b", 11)]:
        path = tmp_path / folder / f"python3.{minor}"
        path.parent.mkdir(exist_ok=True)
        path.touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/a:relative:{tmp_path}/b:{tmp_path}/none")
    own = Path(sys.executable)
    here = sys.version_info.minor
    found = candidates(">=3.11", own)
    assert found[0] == Interpreter(here, own), "ailab's own comes first"
    assert found[1:4] == [
        Interpreter(13, tmp_path / "b" / "python3.13"),
        Interpreter(11, tmp_path / "a" / "python3.11"),
        Interpreter(11, tmp_path / "b" / "python3.11"),
    ]
    assert found[4:] == [Interpreter(13, None)], "what uv is to fetch comes last, and isn't the newest"
    assert candidates("3.14", tmp_path / "none")[-1] == Interpreter(14, None)
    assert Interpreter(13, None).request == "3.13"


def test_minor_of_an_interpreter_that_is_not_run(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    for line in ("version = 3.12.4", "version_info = 3.12.4", "version_info=3.12"):
        (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\n{line}\n")
        assert minor_of(venv / "bin" / "python") == 12
    (tmp_path / "python3.13").touch()
    (tmp_path / "python").symlink_to("python3.13")
    assert minor_of(tmp_path / "python") == 13
    assert minor_of(tmp_path / "nothing") is None
