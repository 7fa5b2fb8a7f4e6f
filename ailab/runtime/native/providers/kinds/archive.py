"""Kind archive: a vendor's release by its checksum."""

from __future__ import annotations

import re
from contextlib import closing

from ailab.runtime.native.providers.download import Fetcher
from ailab.runtime.native.providers.errors import BadSpec, SourceError
from ailab.runtime.native.providers.kinds.job import Job
from ailab.runtime.native.providers.spec import platform_name
from ailab.runtime.native.providers.unpack import unpack


def archive(job: Job) -> None:
    """Downloads the archive and unpacks it without its first `strip` folders."""
    fields = job.source.fields
    url = _filled(job, str(fields["url"]))
    name = url.partition("?")[0].rpartition("/")[2]
    with closing(Fetcher(job.spec.cache, job.budget, job.progress)) as fetcher:
        sha256 = _checksum(job, name, fetcher)
        job.progress.step("archive", f"fetching {name}")
        file = fetcher.fetch(url, sha256)
    job.progress.step("unpack", f"unpacking {name}")
    unpack(file, name, job.folder, int(fields.get("strip", 0)), job.budget, job.spec.disk_mb * 1e6)


def _filled(job: Job, text: str) -> str:
    """The address with {version} and {arch} put in."""
    arches = job.source.fields.get("arch", {})
    text = text.replace("{version}", job.source.version)
    if "{arch}" in text:
        if platform_name() not in arches:
            raise SourceError(f"there is no release for {platform_name()} (for: {', '.join(sorted(arches)) or 'none'})")
        text = text.replace("{arch}", arches[platform_name()])
    if left := re.search(r"\{\w*\}", text):
        raise BadSpec(f"provider {job.spec.name}: {left[0]} in {text!r} names nothing (known: {{version}}, {{arch}})")
    return text


def _checksum(job: Job, name: str, fetcher: Fetcher) -> str:
    """The sha256 that native.toml holds for this platform, else the one in the vendor's own list."""
    table = job.source.fields.get("sha256", {})
    if platform_name() in table:
        return str(table[platform_name()]).lower()
    if "checksums" not in job.source.fields:
        raise SourceError(f"there is no release for {platform_name()} (for: {', '.join(sorted(table))})")
    url = _filled(job, str(job.source.fields["checksums"]))
    lines = [line.split() for line in fetcher.text(url).splitlines()]
    alone = len(lines) == 1 and len(lines[0]) == 1
    for words in lines:
        if words and re.fullmatch(r"[0-9a-fA-F]{64}", words[0]) and (alone or words[-1].lstrip("*").rpartition("/")[2] == name):
            return words[0].lower()
    raise SourceError(f"{url}: has no sha256 for {name}")
