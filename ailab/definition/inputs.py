"""Whether anything that decides what runs has changed; imports nothing heavy, for the `up` that has nothing to do."""

from __future__ import annotations

import hashlib
from pathlib import Path


def inputs_digest(root: Path) -> str:
    """A digest of every file that decides what runs, ailab's own code included."""
    digest = hashlib.sha256()
    files = [root / name for name in ("lab.toml", ".env", ".env.example", "requirements.lock")]
    for folder, pattern in (("k8s", "**/*"), ("gateway", "**/*"), ("ailab", "**/*.py")):
        files += sorted((root / folder).glob(pattern))
    for path in files:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
