"""k8s/images.toml: the digest of each image, where it is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationError

from ailab.definition.problems import Problem
from ailab.definition.strict import Strict, problems_of, read_toml, shown

FILE = "k8s/images.toml"


def _digest(value: str) -> str:
    if value and not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise ValueError(f"{shown(value)} is no digest|sha256: and 64 hex digits, or \"\" while it is not known")
    return value


class Images(Strict):
    """The whole file; an empty digest is one that isn't known yet."""

    digest: dict[str, Annotated[str, AfterValidator(_digest)]] = {}


def read_images(root: Path) -> tuple[dict[str, str], list[Problem]]:
    """The digests by image and tag; none when the file doesn't exist."""
    if not (root / FILE).exists():
        return {}, []
    data, problems = read_toml(root / FILE, FILE, "")
    try:
        return (Images.model_validate(data).digest if data is not None else {}), problems
    except ValidationError as error:
        return {}, problems_of(error, FILE, Images)
