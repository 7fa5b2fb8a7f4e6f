"""The plan goes through JSON unchanged; whatever is no plan of this version is refused."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailab.runtime.native import model

text = st.text(max_size=8)
texts = st.lists(text, max_size=3)
table = st.dictionaries(text, text, max_size=2)
seconds = st.floats(0, 1000)
probes = st.builds(
    model.Probe, kind=st.sampled_from(["http", "tcp", "exec"]), port=st.integers(0, 65535), path=text, scheme=text, headers=table,
    command=texts, initial_delay=seconds, period=seconds, timeout=seconds, successes=st.integers(1, 5), failures=st.integers(1, 5),
)  # fmt: skip
maybe_probe = st.none() | probes
containers = st.builds(
    model.Container, name=text, argv=texts, env=st.lists(st.builds(model.EnvEntry, text, text, text, st.booleans()), max_size=3),
    providers=texts, path=texts, not_root=st.booleans(), post_start=texts, startup=maybe_probe, liveness=maybe_probe,
    readiness=maybe_probe, memory_limit_mb=seconds,
)  # fmt: skip
pods = st.builds(
    model.Pod, name=text, address=text, ports=st.lists(st.integers(1, 65535), max_size=3), first=st.booleans(), requires=texts,
    init=st.lists(containers, max_size=2), containers=st.lists(containers, max_size=2), folders=texts,
    files=st.lists(st.builds(model.File, text, text, st.integers(0, 0o777)), max_size=2), grace=seconds, urls=texts, checksum=text,
)  # fmt: skip
plans = st.builds(
    model.Plan, lab=text, root=text, state=text, inputs=text, secrets=text, python=text, uv=text, store=text, cache=text,
    parallel_starts=st.integers(0, 64), log_bytes=st.integers(1), log_files=st.integers(2, 9),
    providers=st.dictionaries(text, st.dictionaries(text, text | st.integers() | texts, max_size=2), max_size=2),
    pods=st.lists(pods, max_size=2), missing=table,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(plans)
def test_round_trip(plan: model.Plan) -> None:
    assert model.load(model.dump(plan)) == plan


def test_what_is_no_plan_of_this_version() -> None:
    plan = model.Plan("l", "", "", "", "", "", "", "", "", 0, 1, 2, {}, [])
    data = dataclasses.asdict(plan)
    for wrong in ["", "[", "[]", "7", json.dumps({**data, "new": 1}), json.dumps({k: v for k, v in data.items() if k != "pods"})]:
        with pytest.raises(ValueError, match="."):
            model.load(wrong)
