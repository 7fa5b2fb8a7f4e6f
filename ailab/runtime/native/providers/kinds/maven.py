"""Kind maven: the jars of a lock, flat in the folder."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

from ailab.runtime.native.providers.download import Fetcher
from ailab.runtime.native.providers.kinds.job import Job
from ailab.runtime.native.providers.lockfiles import jars
from ailab.runtime.native.providers.maven_settings import repository

_AT_ONCE = 8


def maven(job: Job) -> None:
    """Fetches every jar and checks it; the lock holds the whole resolution, so no pom is read."""
    assert job.source.lock is not None
    wanted = jars(job.spec.of_service(job.source.lock))
    where = repository(job)
    job.progress.step("maven", f"fetching {len(wanted)} jars")
    total = int(job.spec.download_mb * 1e6) or None
    job.progress.restart()
    budget = job.budget.part()
    fetcher = Fetcher(job.spec.cache, budget, job.progress, total, where.headers)
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        tasks = [pool.submit(fetcher.fetch, f"{where.url}/{jar.path}", jar.sha256) for jar in wanted]
        files = [task.result() for task in _failed_or_all(tasks)]
    finally:
        # After a failure the rest would fetch on for nothing.
        budget.stop()
        fetcher.close()
        pool.shutdown(wait=False, cancel_futures=True)
    job.folder.mkdir()
    for jar, file in zip(wanted, files, strict=True):
        _place(file, job.folder / jar.file)


def _failed_or_all(tasks: list[Future[Path]]) -> list[Future[Path]]:
    """Waits for all, or for one that failed: that one alone, then."""
    done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
    return [task for task in done if task.exception()] or tasks


def _place(file: Path, target: Path) -> None:
    """A jar is never written to, so the cache and the store may share its bytes."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
