"""Volumes as folders of this machine, and mount paths in any text as those folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailab.runtime.native.mounts import Mounts, mounts_of

TABLE = json.loads((Path(__file__).parent / "cases" / "mounts.json").read_text())


@pytest.mark.parametrize(("value", "expected"), TABLE["cases"])
def test_rewrite(value: str, expected: str) -> None:
    assert Mounts(by_container={"main": TABLE["mounts"]}).rewrite(value, "main") == expected


@given(st.text(alphabet="/abc.-_ :,\"'\n", max_size=40))
def test_a_text_without_a_mount_path_stays(value: str) -> None:
    assert Mounts(by_container={"main": {"/zz": "/else"}}).rewrite(value, "main") == value


segment = st.text(alphabet="abcxyz019_-.", min_size=1, max_size=6).filter(lambda s: s.strip("."))
paths = st.lists(segment, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(paths, min_size=1, max_size=5, unique=True), st.lists(segment, max_size=2))
def test_a_path_below_a_mount_goes_below_its_folder(mounts: list[str], below: list[str]) -> None:
    table = {m: f"/L/{n}" for n, m in enumerate(mounts)}
    value = "/".join([mounts[0], *below])
    owner = max((m for m in mounts if value == m or value.startswith(f"{m}/")), key=len)
    assert Mounts(by_container={"main": table}).rewrite(value, "main") == table[owner] + value.removeprefix(owner)


def test_each_container_has_its_own_mounts_and_a_config_those_of_all() -> None:
    mounts = Mounts(by_container={"a": {"/x": "/L/a"}, "b": {"/y": "/L/b"}})
    assert mounts.rewrite("/x /y", "a") == "/L/a /y"
    assert mounts.rewrite("/x /y", "b") == "/x /L/b"
    assert mounts.rewrite("/x /y") == "/L/a /L/b"
    assert mounts.rewrite("/x", "none") == "/x"


def workload(volumes: list[dict[str, Any]], mounts: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    pod = {"volumes": volumes, "containers": [{"name": "main", "volumeMounts": mounts}]}
    return {"metadata": {"name": "it"}, "spec": {"template": {"spec": pod}, **spec}}


VOLUMES = [
    {"name": "claim", "persistentVolumeClaim": {"claimName": "it-data"}},
    {"name": "config", "configMap": {"name": "it-config"}},
    {"name": "some", "configMap": {"name": "it-config", "items": [{"key": "a.yml", "path": "sub/b.yml"}]}},
    {"name": "scratch", "emptyDir": {}},
    {"name": "shm", "emptyDir": {"medium": "Memory"}},
    {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
]


def test_every_kind_of_volume() -> None:
    made = mounts_of(
        workload(VOLUMES, [
            {"name": "claim", "mountPath": "/claim/"}, {"name": "claim", "mountPath": "/sub", "subPath": "deep/er"},
            {"name": "config", "mountPath": "/config"}, {"name": "config", "mountPath": "/etc/one.yml", "subPath": "a.yml"},
            {"name": "some", "mountPath": "/some"}, {"name": "scratch", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "models", "mountPath": "/models"}, {"name": "unknown", "mountPath": "/u"},
        ]),
        "/P/it", "/P/data", "/dev/shm/lab", {"models": "%{provider:m}"},
    )  # fmt: skip
    assert made.by_container["main"] == {
        "/claim": "/P/data/it-data", "/sub": "/P/data/it-data/deep/er", "/config": "/P/it/config/config",
        "/etc/one.yml": "/P/it/config/config/a.yml", "/some": "/P/it/config/some", "/tmp": "/P/it/volumes/scratch",
        "/dev/shm": "/dev/shm/lab/it/shm", "/models": "%{provider:m}",
    }  # fmt: skip
    assert set(made.folders) == {
        "/P/it", "/P/data/it-data", "/P/data/it-data/deep/er", "/P/it/config/config", "/P/it/config/some", "/P/it/volumes/scratch",
        "/dev/shm/lab/it/shm",
    }  # fmt: skip
    assert made.files({"it-config": {"a.yml": "A", "c.yml": "C"}}) == [
        ("/P/it/config/config/a.yml", "A"), ("/P/it/config/config/c.yml", "C"), ("/P/it/config/some/sub/b.yml", "A"),
    ]  # fmt: skip


def test_a_stateful_sets_claim_is_named_as_kubernetes_names_it() -> None:
    templates = [{"metadata": {"name": "data"}}]
    made = mounts_of(workload([], [{"name": "data", "mountPath": "/d"}], volumeClaimTemplates=templates), "/P/it", "/P/data", "/m", {})
    assert made.by_container["main"] == {"/d": "/P/data/data-it-0"}
