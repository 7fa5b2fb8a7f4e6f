"""A container's environment: its entries in order, secrets put in, $(NAME) expanded by Kubernetes' rules."""

from __future__ import annotations

import re

from ailab.runtime.native.model import EnvEntry

# A reference goes up to the first closing parenthesis, whatever stands between.
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


class MissingSecret(Exception):
    """A secret that a container needs has no value in .env."""


def expand(value: str, known: dict[str, str]) -> str:
    """Replace $(NAME) by a known variable; $$ is a dollar sign, and an unknown reference stays as it is.

    Source: Kubernetes' `third_party/forked/golang/expansion`.
    """
    return _REFERENCE.sub(lambda m: "$" if m[0] == "$$" else known.get(m[1], m[0]), value)


def resolve(entries: list[EnvEntry], secrets: dict[str, str]) -> dict[str, str]:
    """The variables of a container by name; a reference sees those that stand before it.

    Raises:
        MissingSecret: naming the variable of .env.
    """
    env: dict[str, str] = {}
    for entry in entries:
        if not entry.secret:
            env[entry.name] = expand(entry.value, env)
        elif entry.secret in secrets:
            env[entry.name] = secrets[entry.secret]
        elif not entry.optional:
            raise MissingSecret(f".env has no value for {entry.secret}")
    return env
