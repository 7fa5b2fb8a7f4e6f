"""Kind debian: Debian's packages, fetched by apt and unpacked; no root, and the machine isn't touched."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from ailab.runtime.native.providers.child import environment, run, tool
from ailab.runtime.native.providers.download import cached, digest, place_of
from ailab.runtime.native.providers.errors import SourceError
from ailab.runtime.native.providers.kinds.job import Job
from ailab.runtime.native.providers.lockfiles import Package, packages
from ailab.runtime.native.providers.locks import held
from ailab.runtime.native.providers.spec import platform_name
from ailab.runtime.native.providers.verdicts import Failed

_ARCH = {"linux-x86_64": "amd64", "linux-arm64": "arm64"}
_ONLY = "this source is for Debian and Ubuntu"
# Two providers of one start share one look at the lists.
_FRESH_S = 600


def debian(job: Job) -> None:
    """Unpacks each package of the lock that is for this machine, in the lock's order."""
    assert job.source.lock is not None
    arch = _ARCH.get(platform_name())
    wanted = [package for package in packages(job.spec.of_service(job.source.lock)) if package.arch in (arch, "all")]
    if not wanted:
        raise SourceError(f"{job.source.lock} has no package for {platform_name()}")
    dpkg = tool("dpkg-deb", _ONLY)
    missing = [package for package in wanted if not cached(job.spec.cache, package.sha256)]
    if missing:
        _download(job, missing)
    job.folder.mkdir()
    for package in wanted:
        job.progress.step("unpack", f"unpacking {package.name} {package.version}")
        file = place_of(job.spec.cache, package.sha256)
        what = f"dpkg-deb: unpacking {package.name}"
        run([dpkg, "--extract", file, job.folder], what, job.budget, cwd=job.folder, env=environment())


def _download(job: Job, wanted: list[Package]) -> None:
    names = [f"{package.name}:{package.arch}={package.version}".replace(":all=", "=") for package in wanted]
    downloads = job.scratch / "debs"
    downloads.mkdir()
    job.progress.step("debian", f"fetching {', '.join(package.name for package in wanted)}")
    try:
        # The machine's own lists will do, where it has them and they are fresh enough.
        _apt(job, [], ["download", *names], downloads)
    except Failed:
        lists = ["-o", f"Dir::State::lists={_updated_lists(job)}"]
        try:
            _apt(job, lists, ["download", *names], downloads)
        except Failed as error:
            text = error.tail
            if "was not found" not in text and "Unable to locate" not in text:
                raise
            lacking = [p for p in wanted if re.search(rf"(for '|package ){re.escape(p.name)}\b", text)] or wanted
            versions = ", ".join(f"{p.name} {p.version}" for p in lacking)
            raise SourceError(f"this machine's release of Debian or Ubuntu does not have {versions}") from None
    _keep(job, downloads, wanted)


def _apt(job: Job, lists: list[str], words: list[str], downloads: Path) -> None:
    def tell(line: str) -> None:
        if line.startswith(("Get:", "Fetched")):
            job.tell(line)

    command = [tool("apt-get", _ONLY), *_options(job), *lists, *words]
    what = f"apt: {words[0]} for {job.label}"
    run(command, what, job.budget, cwd=downloads, env=environment(), on_line=tell)


def _updated_lists(job: Job) -> Path:
    """Lists of our own; they outlive the install, so that the next one fetches what changed alone."""
    lists = job.spec.cache / "apt-lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    stamp = lists / "updated"
    with held(lists / "held", job.budget):
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > _FRESH_S:
            job.progress.step("debian", "reading Debian's lists of packages")
            _apt(job, ["-o", f"Dir::State::lists={lists}"], ["update"], job.scratch)
            stamp.touch()
    return lists


def _options(job: Job) -> list[str]:
    """Keeps apt away from the machine's state; a status of its own, since what is installed doesn't matter."""
    state = job.scratch / "apt"
    for name in ("cache/archives/partial", "state"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    settings = {
        "Dir::State": state / "state",
        "Dir::State::lists": "/var/lib/apt/lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Get::List-Cleanup": "false",
        "APT::Update::Post-Invoke-Success": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",
        "Dpkg::Use-Pty": "false",
    }
    if os.geteuid() == 0:
        # apt's own user can't write into our folders.
        settings["APT::Sandbox::User"] = "root"
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _keep(job: Job, downloads: Path, wanted: list[Package]) -> None:
    """Puts what was fetched in the cache, if it is what the lock says."""
    got = {digest(file): file for file in downloads.glob("*.deb")}
    wrong = [package for package in wanted if package.sha256 not in got]
    if wrong:
        names = ", ".join(f"{package.name} {package.version}" for package in wrong)
        raise SourceError(f"{names}: apt's download is not what {job.source.lock} says (sha256 differs); it was thrown away")
    for package in wanted:
        place = place_of(job.spec.cache, package.sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(got[package.sha256], place)
