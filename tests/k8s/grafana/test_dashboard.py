"""Grafana's provisioning: what the dashboards name is there."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[3] / "k8s"
DATA = yaml.safe_load((K8S / "grafana" / "configmap.yml").read_text())["data"]
SOURCES = {s["uid"]: s for s in yaml.safe_load(DATA["datasources.yml"])["datasources"]}
BOARDS = sorted((K8S / "grafana" / "dashboards").glob("*.json"))
# What the lab's programs count; a name outside these is a typing error, or a program that is not scraped.
FAMILIES = {"litellm": "litellm", "llamacpp": "llama-cpp", "vllm": "vllm"}
JOBS = {j["job_name"] for j in yaml.safe_load(yaml.safe_load((K8S / "prometheus" / "configmap.yml").read_text())["data"]["prometheus.yml"])["scrape_configs"]}


@pytest.fixture(params=BOARDS, ids=lambda path: path.name)
def board(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text())


def test_every_source_is_provided(board: Any) -> None:
    text = json.dumps(board)
    assert set(re.findall(r'"type": "prometheus", "uid": "([^"]*)"', text)) <= SOURCES.keys()


def test_panels_have_ids_of_their_own_and_do_not_overlap(board: Any) -> None:
    panels = board["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    for a, b in combinations((p["gridPos"] for p in panels), 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart, (a, b)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels)


def test_every_metric_is_of_a_scraped_program(board: Any) -> None:
    found = set()
    for target in (t for p in board["panels"] for t in p.get("targets", [])):
        expr = re.sub(r"by \([^)]*\)|\{[^}]*\}", "", target["expr"])
        found |= set(re.findall(r"\b([a-z]+)[_:][a-z_]+(?=[\[)])", expr))
    assert found == FAMILIES.keys()
    assert set(FAMILIES.values()) <= JOBS


def test_a_counter_is_read_as_a_rate(board: Any) -> None:
    for target in (t for p in board["panels"] for t in p.get("targets", [])):
        for counter in re.finditer(r"[a-z_:]+_(total|bucket)\b", target["expr"]):
            assert re.search(r"(rate|increase)\($", target["expr"][: counter.start()]), target["expr"]
