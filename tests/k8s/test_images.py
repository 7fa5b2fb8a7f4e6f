"""k8s/images.toml lists every image of the manifests, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from ailab.definition.manifests import containers, read_manifests


def test_the_list_is_the_manifests(root: Path) -> None:
    listed = tomllib.loads((root / "k8s" / "images.toml").read_text("utf-8"))["digest"]
    manifests, problems = read_manifests(root)
    assert not problems
    used = {c["image"] for m in manifests if m.pod for c in containers(m.pod)}
    assert set(listed) == used
    for image, digest in listed.items():
        assert digest == "" or re.fullmatch(r"sha256:[0-9a-f]{64}", digest), image
