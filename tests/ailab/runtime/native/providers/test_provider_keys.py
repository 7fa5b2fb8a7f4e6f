"""Keys: the same inputs give the same folder, any other input another one."""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailab.runtime.native.providers import BadSpec, Spec, find, installed, keys
from ailab.runtime.native.providers.store import finish

words = st.text("abcxyz019.-_/", min_size=1, max_size=12)
fields = st.dictionaries(
    st.sampled_from(["url", "checksums", "strip", "sha256", "arch"]),
    st.one_of(words, st.integers(1, 9), st.dictionaries(words, words, min_size=1, max_size=3)),
).map(lambda chosen: {"kind": "archive", "url": "u", "checksums": "c", **chosen})


def key_of(data: dict[str, Any], minor: int | None = None) -> str:
    spec = Spec.parse(data)
    return keys.key(spec, spec.sources[0], minor)


@settings(deadline=None)
@given(fields, st.randoms())
def test_order_and_empty_fields_mean_nothing(source: dict[str, Any], random: Any) -> None:
    items = [*source.items(), ("build", []), ("no_deps", False), ("version", None)]
    random.shuffle(items)
    base = {"name": "t", "version": "1", "service_dir": "/s", "store": "/x", "cache": "/y"}
    assert key_of({**base, "sources": [source]}) == key_of({**base, "sources": [dict(items)]})


@settings(deadline=None)
@given(fields, fields)
def test_other_fields_give_another_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    base = {"name": "t", "version": "1", "service_dir": "/s", "store": "/x", "cache": "/y"}
    same = key_of({**base, "sources": [one]}) == key_of({**base, "sources": [other]})
    assert same == (one == other)


@settings(deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=20))
def test_the_key_follows_the_contents_of_named_files(lab_at: Any, one: bytes, other: bytes) -> None:
    with tempfile.TemporaryDirectory() as top:
        lab = lab_at(Path(top))
        data = lab.data({"kind": "python", "python": ">=3.11", "lock": "native/a.lock", "build": ["x", "{service}/native/b.py"]})
        lab.write("native/a.lock", b"lock")
        lab.write("native/b.py", one)
        first = key_of(data)
        lab.write("native/b.py", other)
        assert (key_of(data) == first) == (one == other)
        lab.write("native/b.py", one)
        lab.write("native/unnamed.py", other)
        assert key_of(data) == first
        lab.write("native/a.lock", b"lock" + other)
        assert (key_of(data) == first) == (other == b"")


def test_what_changes_the_key_and_what_does_not(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write("native/npm/package.json", "{}")
    lab.write("native/npm/lib/deep.js", "1")
    source = {"kind": "npm", "lock": "native/npm", "build": ["{node}/bin/node", "{service}/native/npm/lib/deep.js"]}
    data = lab.data(source, needs={"node": "/store/node-1-aaa", "unused": "/store/u-1"})
    first = key_of(data)

    def changed(**change: Any) -> bool:
        return key_of({**copy.deepcopy(data), **change}) != first

    assert changed(name="other")
    assert changed(version="2.0")
    assert changed(needs={"node": "/store/node-1-bbb"})
    assert not changed(needs={"node": "/elsewhere/node-1-aaa"}), "the store may be moved"
    assert not changed(needs={"node": "/store/node-1-aaa", "unused": "/store/u-2"})
    assert not changed(store="/other", cache="/other", unavailable="why", disk_mb=9, python="/usr/bin/python3")
    assert not changed(sources=[{**source, "platforms": ["linux-x86_64", "linux-arm64"]}])
    assert key_of(data, 11) != key_of(data, 12)
    lab.write("native/npm/node_modules/x.js", "1")
    lab.write("native/npm/lib/__pycache__/x.pyc", "1")
    assert not changed()
    lab.write("native/npm/lib/deep.js", "2")
    assert changed()
    lab.write("native/npm/lib/deep.js", "1")
    monkeypatch.setattr(keys, "platform_name", lambda: "linux-riscv64")
    assert changed()


def test_a_key_stays_what_it_was(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of how keys are made would fetch the whole lab anew on every machine: it must be meant."""
    monkeypatch.setattr(keys, "platform_name", lambda: "linux-x86_64")
    lab.write("native/requirements.lock", "six==1.17.0\n")
    source = {"kind": "python", "python": ">=3.11", "lock": "native/requirements.lock"}
    assert key_of(lab.data(source), 11)[:12] == "ae598d6ca3fb"


def test_a_missing_file_is_named(lab: Any) -> None:
    with pytest.raises(BadSpec) as caught:
        key_of(lab.data({"kind": "debian", "packages": "native/debian.lock"}))
    assert str(caught.value) == f"{lab.service}/native/debian.lock: there is no such file"


def test_installed_takes_the_first_source_that_stands_in_the_store(lab: Any) -> None:
    first = {"kind": "archive", "url": "https://one.example/", "checksums": "c"}
    elsewhere = {"kind": "go", "module": "m", "version": "v1", "platforms": ["plan9-mips"]}
    last = {"kind": "go", "module": "m", "version": "v1"}
    spec = lab.spec(first, elsewhere, last)
    assert installed(spec) is None
    folders = [keys.folder(spec, source) for source in spec.sources]
    folders[2].mkdir(parents=True)
    assert installed(spec) is None, "without its marker a folder isn't whole"
    finish(folders[2], "go", "v1")
    assert installed(spec) == folders[2]
    folders[0].mkdir()
    found = finish(folders[0], "archive", "1.0")
    assert find(spec) == found
    assert folders[0].name == f"thing-1.0-{keys.key(spec, spec.sources[0])[:12]}"


def test_an_environment_is_found_whichever_interpreter_made_it(lab: Any) -> None:
    lab.write("native/requirements.lock", "")
    spec = lab.spec({"kind": "python", "python": ">=3.11,<3.13", "lock": "native/requirements.lock"})
    folder = keys.folder(spec, spec.sources[0], 12)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    finish(folder, "python", "1.0")
    assert installed(spec) == folder
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to("/usr/bin/python-that-was-removed")
    assert installed(spec) is None, "its interpreter has gone from the machine"


def test_a_marker_that_was_cut_short_counts_for_nothing(lab: Any) -> None:
    spec = lab.spec({"kind": "go", "module": "m", "version": "v1"})
    folder = keys.folder(spec, spec.sources[0])
    folder.mkdir(parents=True)
    for text in ("", '{"source": "go"', '{"source": "go"}', "[]"):
        (folder / ".complete").write_text(text)
        assert installed(spec) is None


def test_asking_imports_nothing_that_makes_folders() -> None:
    """`ailab up` with nothing to do asks this for each provider."""
    code = (
        "import sys, json; from ailab.runtime.native.providers import Spec, find, install, installed; "
        "find(Spec.parse({'name': 't', 'version': '1', 'service_dir': '/s', 'store': '/x', 'cache': '/y',"
        " 'sources': [{'kind': 'go', 'module': 'm', 'version': 'v1'}]})); "
        "print(json.dumps(sorted(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[5]
    run = subprocess.run([sys.executable, "-P", "-c", code], env={"PYTHONPATH": str(root)}, capture_output=True, check=True)
    loaded = set(json.loads(run.stdout))
    assert not loaded & {"urllib.request", "subprocess", "tarfile", "concurrent.futures", "pydantic", "yaml", "httpx"}
    assert not {name for name in loaded if name.startswith("ailab.runtime.native.providers.kinds")}
