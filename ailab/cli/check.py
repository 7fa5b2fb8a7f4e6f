"""`check`: the conformance list against the running lab."""

from __future__ import annotations

from pathlib import Path

from ailab.checks import Lab, checks_for, run
from ailab.checks.suite import unpinned
from ailab.cli.output import emit, fail, paint, say
from ailab.definition.load import Definition, load
from ailab.definition.problems import DefinitionError, did_you_mean
from ailab.render import render
from ailab.runtime.native import client
from ailab.runtime.native.addresses import assign
from ailab.runtime.native.control import Down
from ailab.runtime.native.edge import urls

_COLOURS = {"ok": "32", "failed": "31", "left out": "33"}


def native_lab(definition: Definition, root: Path) -> Lab:
    """The lab that runs on this machine, as checks see it.

    Raises:
        Down: it does not run.
    """
    with client.connect(root) as connection:
        status = connection.ask("status")
    native, host = definition.settings.native, definition.settings.lab.host
    names = [m.name for m in definition.manifests if m.kind == "Service"]
    pages = urls(render(definition), host, native.port)
    return Lab(
        definition=definition,
        addresses=assign(names, native.network),
        edge=f"127.0.0.1:{native.port}",
        absent={p["name"]: p["reason"] for p in status["pods"] if p["unavailable"]} | status["missing"],
        hosts={s: u[0].removeprefix("http://").rpartition(":")[0] for s, u in pages.items()},
        leaders=[c["pid"] for p in status["pods"] for c in p["containers"] if c["pid"]] + [status["pid"]],
    )


def check(root: Path, only: list[str], as_json: bool) -> int:
    """Run all checks, or those named and what they come after."""
    try:
        definition = load(root).natively()
        lab = native_lab(definition, root)
    except DefinitionError as error:
        fail(*error.problems)
    except Down:
        fail("the lab is not up (./lab up starts it)")
    checks = checks_for(lab)
    for name in only:
        if name not in {c.name for c in checks}:
            fail(f"no check is named {name!r} ({did_you_mean(name, [c.name for c in checks])})", code=2)
    if only:
        wanted = set(only) | {c.after for c in checks if c.name in only}
        checks = [c for c in checks if c.name in wanted]
    results = []
    for result in run(lab, checks):
        results.append(result)
        if not as_json:
            state = paint(f"{result.state:<8}", _COLOURS[result.state])
            say(f"{state}  {result.name:<18} {result.detail}")
    bad = [r for r in results if r.state != "ok"]
    if as_json:
        emit({"checks": [vars(r) for r in results], "absent": lab.absent, "unpinned": unpinned(lab)})
        return int(bool(bad))
    for name, reason in sorted(lab.absent.items()):
        say(f"{paint('absent  ', '33')}  {name:<18} {reason}")
    if images := unpinned(lab):
        say(f"{paint('note    ', '33')}  images by tag alone, their digest is not known yet: {', '.join(images)}")
    say(f"{len(results) - len(bad)} of {len(results)} checks are ok")
    return int(bool(bad))
