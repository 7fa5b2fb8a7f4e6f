"""uv doesn't read pip's settings; a machine whose index, certificates or proxy are set for pip has them for uv too."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

# pip's setting → uv's variable.
_AS_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
_LISTS = {"extra-index-url", "find-links", "trusted-host"}


def for_uv(env: Mapping[str, str]) -> dict[str, str]:
    """The environment, with pip's settings as uv's wherever uv has none of its own."""
    told = dict(env)
    settings = _files(env) | _variables(env)
    for name, value in settings.items():
        if name == "find-links":
            # pip passes over a folder that isn't there, uv stops.
            value = " ".join(place for place in value.split() if "://" in place or Path(place).is_dir())
        variable = _AS_UV[name]
        if value and variable not in told and not (name == "index-url" and "UV_INDEX_URL" in told):
            told[variable] = (",".join if name == "find-links" else " ".join)(value.split()) if name in _LISTS else value
    if "UV_INDEX" in told:
        # pip takes the best of all its indexes; the lock's hashes make that safe.
        told.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return told


def _variables(env: Mapping[str, str]) -> dict[str, str]:
    found = {name: env.get("PIP_" + name.upper().replace("-", "_"), "") for name in _AS_UV}
    return {name: value for name, value in found.items() if value}


def _files(env: Mapping[str, str]) -> dict[str, str]:
    """[global] and [install] of pip's files; later files win, as they do for pip."""
    home = Path(env.get("HOME", "/nonexistent"))
    config = Path(env.get("XDG_CONFIG_HOME", home / ".config"))
    places = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf"]
    if named := env.get("PIP_CONFIG_FILE"):
        places = [] if named == "/dev/null" else [*places, Path(named)]
    parser = configparser.RawConfigParser()
    for place in places:
        try:
            parser.read(place, "utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
    found: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found |= {name: value for name, value in parser.items(section) if name in _AS_UV}
    return found
