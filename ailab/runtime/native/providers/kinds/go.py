"""Kind go: a program built from its module, in {name}/bin; Go's checksum database verifies what is fetched."""

from __future__ import annotations

import re

from ailab.runtime.native.providers.child import environment, run, tool
from ailab.runtime.native.providers.errors import SourceError
from ailab.runtime.native.providers.kinds.job import Job
from ailab.runtime.native.providers.verdicts import Failed


def go(job: Job) -> None:
    """Builds with the machine's Go, whose module and build caches it uses."""
    program = tool("go", "install Go, or take another source")
    fields = job.source.fields
    env = environment(GOBIN=str(job.folder / "bin"), GOFLAGS="-buildvcs=false")
    env |= {key: str(value) for key, value in fields.get("env", {}).items()}
    if env.get("CGO_ENABLED") == "1":
        tool(env.get("CC", "cc").split()[0], "its build needs a C compiler: install gcc")
    package = "/".join(part for part in (str(fields["module"]), str(fields.get("package", "")).removeprefix("./").strip("/")) if part)
    command = [program, "install", "-trimpath"]
    if fields.get("tags"):
        command += ["-tags", str(fields["tags"])]
    job.progress.step("go", f"building {package}@{fields['version']}")
    (job.folder / "bin").mkdir(parents=True)
    try:
        run(
            [*command, f"{package}@{fields['version']}"],
            f"go: building {job.label}",
            job.budget,
            cwd=job.scratch,
            env=env,
            on_line=job.tell,
        )
    except Failed as error:
        text = error.tail
        if needed := re.search(r"requires go >= ([\d.]+)", text):
            raise SourceError(f"go: {job.label} needs Go {needed[1]} or newer; install it, or take another source") from None
        raise
