"""The ways to make a provider's folder: one module a kind, one function each."""

from __future__ import annotations

from collections.abc import Callable

from ailab.runtime.native.providers.kinds.archive import archive
from ailab.runtime.native.providers.kinds.debian import debian
from ailab.runtime.native.providers.kinds.git import git
from ailab.runtime.native.providers.kinds.go import go
from ailab.runtime.native.providers.kinds.job import Job
from ailab.runtime.native.providers.kinds.maven import maven
from ailab.runtime.native.providers.kinds.npm import npm
from ailab.runtime.native.providers.kinds.python import choose_interpreter, python

KINDS: dict[str, Callable[[Job], None]] = {
    "python": python,
    "archive": archive,
    "debian": debian,
    "maven": maven,
    "npm": npm,
    "git": git,
    "go": go,
}

__all__ = ["KINDS", "Job", "choose_interpreter"]
