"""Kind git: a source tree at a commit in {name}/src, with a virtual environment for it in {name}/venv."""

from __future__ import annotations

import shutil

from ailab.runtime.native.providers.child import environment, run, tool
from ailab.runtime.native.providers.errors import SourceError
from ailab.runtime.native.providers.kinds.job import Job
from ailab.runtime.native.providers.kinds.python import make_environment
from ailab.runtime.native.providers.verdicts import Failed

# Never asks for a password, runs no hook of the machine's, and no filter may change the tree.
_SETTINGS = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.autocrlf=false",
    "-c",
    "protocol.ext.allow=never",
    "-c",
    "advice.detachedHead=false",
]


def git(job: Job) -> None:
    """Fetches the one commit; git itself verifies that it is what its name says."""
    program = tool("git", "install git")
    url, commit = str(job.source.fields["url"]), str(job.source.fields["commit"])
    tree = job.folder / "src"
    tree.mkdir(parents=True)
    env = environment(GIT_TERMINAL_PROMPT="0", GIT_ASKPASS="true", GIT_HTTP_LOW_SPEED_LIMIT="1000", GIT_HTTP_LOW_SPEED_TIME="30")

    def call(what: str, *words: str) -> list[str]:
        return run([program, *_SETTINGS, *words], f"git: {what}", job.budget, cwd=tree, env=env)

    job.progress.step("git", f"fetching {url} at {commit[:12]}")
    call("making a repository", "init", "--quiet")
    try:
        call(f"fetching {url} at {commit[:12]}", "fetch", "--quiet", "--depth", "1", url, commit)
    except Failed as error:
        if "not our ref" in error.tail:
            raise SourceError(f"{url} has no commit {commit[:12]} (any more)") from None
        raise
    call("checking the tree out", "checkout", "--quiet", "--detach", commit)
    if call("reading the commit", "rev-parse", "HEAD") != [commit]:
        raise SourceError(f"{url}: the tree that came is not {commit[:12]}")
    shutil.rmtree(tree / ".git")
    if job.source.lock:
        make_environment(job, job.folder / "venv")
