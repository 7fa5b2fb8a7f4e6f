"""Makes a provider's folder in the store from the first source that can be had on this machine, verified, once.

Stdlib only: it runs as a child of a small supervisor (`python -m ailab.runtime.native.providers install`), and commands
that must answer in milliseconds ask `installed`, so what makes folders is imported when one is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ailab.runtime.native.providers.errors import BadSpec, InstallError
from ailab.runtime.native.providers.keys import find, installed
from ailab.runtime.native.providers.spec import Spec, platform_name

if TYPE_CHECKING:
    from ailab.runtime.native.providers.progress import Report
    from ailab.runtime.native.providers.store import Installed

__all__ = ["BadSpec", "InstallError", "Spec", "find", "install", "installed", "platform_name"]


def install(spec: Spec, report: Report | None = None) -> Installed:
    """Returns the provider's folder, made now if it isn't there yet.

    Raises:
        InstallError: no source works, or the store can't be written; its text names place, cause and way out.
    """
    from ailab.runtime.native.providers.installer import install as make

    return make(spec, report)
