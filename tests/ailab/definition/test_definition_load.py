"""The definition as a whole: the real one, what fits in it, and the digest of everything that decides what runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from ailab.definition.inputs import inputs_digest
from ailab.definition.load import load
from ailab.definition.native import Archive, NativeSpec
from ailab.definition.problems import DefinitionError
from ailab.definition.settings import OFF_BY_DEFAULT, Native, Settings
from ailab.definition.strict import problems_of
from tests.conftest import ROOT
from tests.fixtures.definitions import copy_real, copy_small


def test_the_repositorys_own_definition_is_valid(tmp_path: Path) -> None:
    definition = load(copy_real(tmp_path))
    assert set(definition.services) > OFF_BY_DEFAULT
    assert [s for s in definition.services if not definition.settings.is_on(s)] == sorted(OFF_BY_DEFAULT)
    assert definition.settings.native == Native(), "lab.toml shows every default and changes none"


def test_lab_toml_is_the_manual_of_every_key() -> None:
    text = (ROOT / "lab.toml").read_text("utf-8")
    for name, field in {**Native.model_fields, **Settings.model_fields["lab"].annotation.model_fields}.items():  # type: ignore[union-attr]
        line = f"{name} = {json.dumps(field.default)}" if not field.is_required() else ""
        assert f"\n# {line}\n" in text or (field.is_required() and f"\n{name} = " in text), f"{name} with its default"


def test_a_service_is_on_unless_it_is_off() -> None:
    settings = Settings.model_validate({"lab": {"tailnet": "x"}, "services": {"ollama": True, "neo4j": False}})
    on = {s: settings.is_on(s) for s in ("ollama", "vllm", "neo4j", "litellm")}
    assert on == {"ollama": True, "vllm": False, "neo4j": False, "litellm": True}


def test_every_allowed_network_is_taken() -> None:
    assert Native.model_validate({"network": "127.1.0.0/16"}).network == "127.1.0.0/16"
    assert Native.model_validate({"network": "127.255.0.0/16"}).network == "127.255.0.0/16"
    for wrong in ("127.77.1.0/24", "127.76.0.0/15", "127.77.0.1/16", "::1/128"):
        with pytest.raises(ValidationError):
            Native.model_validate({"network": wrong})


def test_what_does_not_fit_is_told_beside_what_is_wrong_in_itself(tmp_path: Path) -> None:
    edits = [
        {"file": "lab.toml", "append": "x = 1\n"},
        {"file": "gateway/litellm-config.yml", "write": "nothing"},
        {"file": "k8s/litellm/service.yml", "replace": "targetPort: 4000", "by": "targetPort: 4001"},
    ]
    with pytest.raises(DefinitionError) as caught:
        load(copy_small(tmp_path, edits))
    assert [p.place.split()[0] for p in caught.value.problems] == ["gateway/litellm-config.yml", "k8s/litellm/service.yml", "lab.toml"]


def test_an_error_that_we_have_no_words_for_shows_none_of_pydantics() -> None:
    class Odd(BaseModel):
        value: bytes

    with pytest.raises(ValidationError) as caught:
        Odd.model_validate({"value": 1.5})
    assert [str(p) for p in problems_of(caught.value, "file", Odd)] == ["file value: 1.5 does not fit (see the comments on this key)"]


def test_long_values_are_shortened() -> None:
    with pytest.raises(ValidationError) as caught:
        NativeSpec.model_validate({"provider": ["x" * 500]})
    assert len(str(problems_of(caught.value, "file", NativeSpec)[0])) < 130


def test_tags_of_unions_are_no_part_of_a_place() -> None:
    source = {"kind": "archive", "url": "https://vendor.example", "sha256": {"linux-arm64": 1}}
    with pytest.raises(ValidationError) as caught:
        NativeSpec.model_validate({"provider": {"p": {"version": "1", "download_mb": 1, "disk_mb": 1, "source": [source]}}})
    assert [p.place for p in problems_of(caught.value, "file", NativeSpec)] == ["file provider.p.source.0.sha256.linux-arm64"]
    assert Archive.model_fields.keys() > {"url", "sha256"}


INPUTS = [
    "lab.toml", ".env", ".env.example", "requirements.lock", "gateway/litellm-config.yml", "gateway/hook.py", "k8s/litellm/deployment.yml",
    "k8s/litellm/native.toml", "k8s/litellm/native/deep/requirements.lock", "k8s/images.toml", "ailab/render/objects.py",
]  # fmt: skip
NO_INPUTS = ["README.md", ".lab/data/x", "tests/x.py", "ailab/__pycache__/x.py", "k8s/litellm/native/__pycache__/build.cpython-311.pyc"]


@pytest.mark.parametrize("name", INPUTS)
def test_each_input_changes_the_digest(name: str, tmp_path: Path) -> None:
    root, path = copy_small(tmp_path), tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    seen = [inputs_digest(root)]
    for content in ("", "a", "b"):
        path.write_text(content)
        seen.append(inputs_digest(root))
    path.rename(path.with_name(f"other-{path.name}"))
    assert len(set(seen)) == 4
    assert inputs_digest(root) not in seen[1:]


@pytest.mark.parametrize("name", NO_INPUTS)
def test_nothing_else_does(name: str, tmp_path: Path) -> None:
    before = inputs_digest(copy_small(tmp_path))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("x")
    assert inputs_digest(tmp_path) == before


def test_the_digest_is_that_of_the_content_not_of_the_place_or_time(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = copy_small(tmp_path / "a" / "lab")
    before = inputs_digest(first)
    shutil.copytree(first, tmp_path / "b c")
    (tmp_path / "b c" / "lab.toml").touch()
    assert inputs_digest(tmp_path / "b c") == before
