"""`version`: ailab's own and that of each image."""

from __future__ import annotations

import platform
from pathlib import Path

import ailab
from ailab.cli.output import emit, fail, say, table
from ailab.definition.crosschecks import image_tag
from ailab.definition.load import load
from ailab.definition.manifests import containers
from ailab.definition.problems import DefinitionError


def version(root: Path, as_json: bool) -> int:
    """Print the versions."""
    try:
        definition = load(root)
    except DefinitionError as error:
        fail(*error.problems)
    images = {
        m.service: [c["image"] for c in containers(m.pod)] for m in definition.manifests if m.pod
    }
    if as_json:
        emit({"ailab": ailab.__version__, "python": platform.python_version(), "images": images})
        return 0
    say(f"ailab {ailab.__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
    say()
    rows = [[s, *image_tag(i)] for s, found in images.items() for i in dict.fromkeys(found)]
    say(table([["SERVICE", "IMAGE", "VERSION"], *rows]))
    return 0
