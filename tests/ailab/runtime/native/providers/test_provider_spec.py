"""Specs: what is refused, and how it is said."""

import platform
from typing import Any

import pytest

from ailab.runtime.native.providers import BadSpec, platform_name
from ailab.runtime.native.providers.errors import InstallError, scrub

GOOD = {"kind": "archive", "url": "https://vendor.example/{version}.tar.gz", "checksums": "https://vendor.example/sums"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sources": []}, "provider thing: sources is missing"),
    ({"store": "", "cache": ""}, "provider thing: store is missing, cache is missing"),
    ({"name": "Thing/.."}, "provider Thing/..: its name may have a-z, 0-9 and - only"),
    ({"version": "../1"}, "provider thing: version '../1' can't be part of a folder's name"),
    ({"sources": ["archive"]}, "provider thing: source 1 is no table"),
    (
        {"sources": [{"kind": "brew"}]},
        "provider thing: source 1 (brew): there is no such kind "
        "(kinds: python, archive, debian, maven, npm, git, go)",
    ),
    ({"sources": [GOOD, {"kind": "python"}]}, "provider thing: source 2 (python): python is missing; "
     "source 2 (python): lock is missing"),
    ({"sources": [{"kind": "archive", "url": "x"}]}, "provider thing: source 1 (archive): sha256 or checksums is missing"),
    (
        {"sources": [{"kind": "git", "url": "x", "commit": "main", "lock": "l"}]},
        "provider thing: source 1 (git): commit must be 40 hex digits; source 1 (git): python is missing beside lock",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message[:60] for _, message in WRONG])
def test_what_is_wrong_is_named_all_at_once(lab: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSpec) as caught:
        lab.spec(**({"sources": [GOOD]} | change))
    assert str(caught.value) == message


def test_empty_fields_count_as_absent(lab: Any) -> None:
    spec = lab.spec(GOOD | {"platforms": [], "sha256": {}, "build": [], "version": None})
    assert spec.sources[0].fields.keys() == {"url", "checksums"}
    assert spec.sources[0].version == "1.0"


def test_placeholders(lab: Any, tmp_path: Any) -> None:
    spec = lab.spec(GOOD, needs={"node": "/store/node-1"})
    assert spec.fill("{thing}/a {service}/b {node}/c {python}", tmp_path) == (f"{tmp_path}/a {lab.service}/b /store/node-1/c {spec.python}")
    with pytest.raises(BadSpec) as caught:
        spec.fill("{data}/x", tmp_path)
    assert str(caught.value) == ("provider thing: {data} in '{data}/x' names nothing (known: node, python, service, thing)")


def test_files_stay_in_the_services_folder(lab: Any) -> None:
    spec = lab.spec(GOOD)
    for path, message in [
        ("../../lab.toml", "lies outside the service's folder"),
        ("native/none", "there is no such file"),
    ]:
        with pytest.raises(BadSpec) as caught:
            spec.of_service(path)
        assert str(caught.value) == f"{lab.service}/{path}: {message}"


def test_platform_name() -> None:
    assert platform_name() == {"x86_64": "linux-x86_64", "aarch64": "linux-arm64"}.get(platform.machine(), platform_name())


def test_passwords_of_addresses_are_never_shown() -> None:
    assert scrub("at https://me:s3cret@index.example/x and http://p%40ss@proxy:80") == ("at https://index.example/x and http://proxy:80")
    error = InstallError("no https://u:p@h/", "ask https://u:p@h/", [("python", "from https://u:p@h/")])
    assert str(error) == "no https://h/ (ask https://h/)\n  python: from https://h/"
