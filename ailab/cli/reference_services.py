"""docs/reference/services.md from the definition itself: what each service is, natively and in the cluster, and what it costs."""

from __future__ import annotations

from ailab.definition.crosschecks import image_tag
from ailab.definition.load import Definition
from ailab.definition.manifests import Manifest, containers
from ailab.definition.native import NativeSpec, Provider
from ailab.definition.settings import OFF_BY_DEFAULT

FILE = "docs/reference/services.md"
_HEAD = """\
# Services

Made by `python -m ailab.cli.reference` from k8s/; a test holds this page to it. MB fetched and MB of disk are those of the native
providers, measured on Linux x86_64 with the source that package registries give.

"""
_KINDS = {
    "python": "a virtual environment from PyPI, locked with hashes",
    "archive": "the vendor's release, by checksum",
    "debian": "Debian's packages by checksum, unpacked, not installed",
    "maven": "jars from Maven Central, by sha256",
    "npm": "packages of npm, by their lock",
    "git": "the source tree at a pinned commit, with a locked virtual environment",
    "go": "built from the Go module proxy (needs `go`)",
}


def text(definition: Definition) -> str:
    """The page."""
    native = definition.natively().settings
    rows, providers = [], []
    for service in [*definition.services, "ingress"]:
        spec = definition.native.get(service, NativeSpec())
        workloads = [m for m in definition.manifests if m.service == service and m.pod]
        on = "yes" if native.is_on(service) else "on request" if service in OFF_BY_DEFAULT else "on the server"
        images = " ".join(dict.fromkeys(f"`{'`:`'.join(image_tag(i))}`" for m in workloads for i in _images(m))) or "(the controller)"
        ports = " ".join(str(p) for m in definition.manifests if m.service == service and m.kind == "Service" for p in _ports(m)) or "`native.port`"
        fetched, disk = sum(p.download_mb for p in spec.provider.values()), sum(p.disk_mb for p in spec.provider.values())
        rows.append(f"| {service} | {on} | {ports} | {images} | {fetched:g} | {disk:g} |\n")
        providers += [_provider(service, name, p) for name, p in spec.provider.items()]
    default = [s for s in [*definition.services, "ingress"] if native.is_on(s)]
    total = [sum(getattr(p, f) for s in default if s in definition.native for p in definition.native[s].provider.values()) for f in ("download_mb", "disk_mb")]
    head = "| service | on | ports | image | MB fetched | MB of disk |\n|---|---|---|---|---|---|\n"
    sums = f"| all that is on natively | | | | {total[0]:g} | {total[1]:g} |\n"
    return _HEAD + head + "".join(rows) + sums + "\n## What stands for the images natively\n" + "".join(providers)


def _images(manifest: Manifest) -> list[str]:
    return [c["image"] for c in containers(manifest.pod or {"containers": []})]


def _ports(manifest: Manifest) -> list[int]:
    return [p["port"] for p in manifest.object["spec"].get("ports", [])]


def _provider(service: str, name: str, provider: Provider) -> str:
    lines = [f"\n### {name} ({service})\n\n{provider.version}; {provider.download_mb:g} MB fetched, {provider.disk_mb:g} MB of disk. Tried in this order:\n\n"]
    for source in provider.source:
        where = f" ({', '.join(source.platforms)})" if source.platforms else ""
        version = f", {source.version}" if source.version else ""
        lines.append(f"1. {_KINDS[source.kind]}{version}{where}\n")
    if provider.unavailable:
        lines.append(f"\nWhere none of these can be had: {provider.unavailable}\n")
    return "".join(lines)
