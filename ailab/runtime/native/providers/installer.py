"""Tries a provider's sources in order until one stands in the store."""

from __future__ import annotations

from ailab.runtime.native.providers import keys, shared_files, store
from ailab.runtime.native.providers.child import environment, run
from ailab.runtime.native.providers.errors import BadSpec, InstallError, SourceError, Stopped, StoreError, of_the_system
from ailab.runtime.native.providers.interpreters import Interpreter
from ailab.runtime.native.providers.kinds import KINDS, Job, choose_interpreter
from ailab.runtime.native.providers.progress import Budget, Progress, Report
from ailab.runtime.native.providers.spec import Source, Spec, platform_name


def install(spec: Spec, report: Report | None = None, budget: Budget | None = None) -> store.Installed:
    """Returns the provider's folder, made now if it isn't there yet.

    Raises:
        BadSpec: native.toml or a lock is wrong.
        InstallError: no source works, or the store can't be written.
    """
    if found := keys.find(spec):
        return found
    progress = Progress(report)
    budget = budget or Budget(spec.timeout_s)
    store.sweep(spec.store, progress)
    tried: list[tuple[str, str]] = []
    for source in spec.sources:
        try:
            return _from(source, spec, budget, progress)
        except SourceError as error:
            tried.append((source.kind, str(error)))
            progress.step("next", f"{source.kind}: {error}")
        except StoreError as error:
            raise InstallError(error.reason, error.way_out, [*tried, (source.kind, error.reason)]) from None
        except OSError as error:
            problem = of_the_system(error, spec.store) or StoreError(
                f"{error.filename or spec.store}: {error.strerror or error}", "look at the disk and the system's log"
            )
            raise InstallError(problem.reason, problem.way_out, [*tried, (source.kind, problem.reason)]) from None
    if len(tried) == 1:
        reason = f"{spec.name} {spec.version} can't be had on this machine: {tried[0][1]}"
    else:
        reason = f"{spec.name} {spec.version} can't be had on this machine, none of its {len(tried)} sources works"
    way_out = spec.unavailable or "each source's reason tells what it lacks: mend one, and run the command again"
    raise InstallError(reason, way_out, tried)


def _from(source: Source, spec: Spec, budget: Budget, progress: Progress) -> store.Installed:
    if not source.runs_on(platform_name()):
        only = ", ".join(source.fields["platforms"])
        raise SourceError(f"is for {only} only; this machine is {platform_name()}")
    interpreter: Interpreter | None = None
    if keys.minors(source) != [None]:
        interpreter = choose_interpreter(source.fields["python"], spec)
    folder = keys.folder(spec, source, interpreter.minor if interpreter else None)
    with store.making(folder, budget, progress) as found:
        if found:
            return found
        if spec.disk_mb:
            store.need_space(spec.store, spec.disk_mb * 1e6, f"{spec.name} {spec.version}")
        progress.step("source", f"{spec.name} {source.version} from {source.kind}")
        job = Job(spec, source, folder, store.scratch(folder), budget, progress, interpreter)
        job.scratch.mkdir()
        KINDS[source.kind](job)
        _build(job)
        return store.finish(folder, source.kind, source.version)


def _build(job: Job) -> None:
    """The source's own last step, in its folder."""
    if not job.source.build:
        return
    argv = [job.spec.fill(word, job.folder) for word in job.source.build]
    job.progress.step("build", f"{job.label}: its last step")
    home = job.scratch / "home"
    home.mkdir()
    what = f"{job.spec.name}: the build step {' '.join(argv[:2])}"
    before = shared_files.look(job.folder)
    run(argv, what, job.budget, cwd=job.folder, env=environment(HOME=str(home), TMPDIR=str(job.scratch)), network=False)
    if spoilt := shared_files.written(job.folder, before):
        raise BadSpec(
            f"{what} wrote into {len(spoilt)} files that uv's cache shares ({spoilt[0]}): let it write new files and "
            "rename them over; then empty the cache, which is spoilt (uv cache clean)"
        )


__all__ = ["InstallError", "Stopped", "install"]
