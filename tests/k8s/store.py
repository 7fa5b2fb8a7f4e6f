"""A provider's folder of the store, for tests of the real thing."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from ailab.definition.native import read_native
from ailab.runtime.native.providers import Spec, install, installed
from tests.conftest import ROOT


@cache
def provider_folder(name: str) -> Path:
    """The folder; made if it isn't in the store."""
    specs, _ = read_native(ROOT)
    service, provider = next((s, spec.provider[name]) for s, spec in specs.items() if name in spec.provider)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ailab"
    uv = Path(sys.executable).with_name("uv")
    spec = Spec.parse(
        {
            "name": name,
            "version": provider.version,
            "service_dir": str(ROOT / "k8s" / service),
            "sources": [s.model_dump(exclude_unset=True) for s in provider.source],
            "needs": {other: str(provider_folder(other)) for other in provider.needs},
            "unavailable": provider.unavailable,
            "store": os.environ.get("AILAB_STORE") or str(home / "store"),
            "cache": str(home / "downloads"),
            "python": sys.executable,
            "uv": str(uv) if uv.exists() else "uv",
        }
    )
    return installed(spec) or install(spec).path
