"""`python -m ailab.runtime.native.providers install|installed`: a spec as JSON on stdin, events as JSON on stdout.

Exit 0: done (or it is there); 1: it can't be made (or isn't there); 2: usage.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Any

from ailab.runtime.native.providers import BadSpec, InstallError, Spec, find
from ailab.runtime.native.providers.errors import Stopped, scrub


def _emit(event: str, **fields: Any) -> None:
    """One line, written whole; nobody reading is no reason to stop half way."""
    try:
        os.write(1, (json.dumps({"event": event, **fields}) + "\n").encode())
    except BrokenPipeError:
        return


def _stop(_signum: int, _frame: FrameType | None) -> None:
    # Once: a second signal must not interrupt the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise Stopped


def _progress(step: str, text: str, done: int | None, total: int | None) -> None:
    _emit("progress", step=step, text=text, bytes=done, total=total)


def _fail(reason: str, way_out: str, tried: Any = ()) -> int:
    tried = [{"source": kind, "reason": text} for kind, text in tried]
    _emit("failed", tried=tried, reason=reason, way_out=way_out)
    return 1


def _read() -> dict[str, Any]:
    try:
        data = json.load(sys.stdin)
    except ValueError as error:
        raise BadSpec(f"the spec on stdin is no JSON object ({error})") from None
    if not isinstance(data, dict):
        raise BadSpec("the spec on stdin is no JSON object")
    return data


def _install(spec: Spec) -> int:
    from ailab.runtime.native.providers.installer import install
    from ailab.runtime.native.providers.progress import Budget

    budget = Budget(spec.timeout_s)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        done = install(spec, _progress, budget)
    except InstallError as error:
        return _fail(error.reason, error.way_out, error.tried)
    except Stopped:
        return _fail(
            f"installing {spec.name} {spec.version} was stopped",
            "run the command again: it goes on from what was fetched",
        )
    finally:
        budget.stop()
    _emit("done", path=str(done.path), source=done.source, version=done.version)
    return 0


def main(argv: list[str]) -> int:
    if argv not in (["install"], ["installed"]):
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        spec = Spec.parse(_read())
        if argv == ["install"]:
            return _install(spec)
        found = find(spec)
        if found:
            _emit("done", path=str(found.path), source=found.source, version=found.version)
        return 0 if found else 1
    except BadSpec as error:
        return _fail(scrub(str(error)), "correct native.toml or the lock that it names")
    except Exception as error:
        # Whoever reads the events must learn of its end all the same.
        traceback.print_exc()
        return _fail(f"a fault of the installer: {scrub(repr(error))}", "report it, with what stands in the log")


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    # Threads that still wait for a server must not hold the end; all that is to be cleaned up is.
    os._exit(status)
