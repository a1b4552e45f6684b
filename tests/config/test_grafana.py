"""The dashboard that ships with the daemon: it asks for metrics and labels that exist, in words Prometheus takes."""

import json
import re
import shutil
import subprocess
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

from daemon.metrics import Metrics

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "config" / "grafana" / "signaged.json").read_text(encoding="utf-8")
)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel.get("targets", ())]
# what Prometheus adds to every series, and the series it writes of its alerts
ADDED = {"job", "instance"}
ALERTS = {"ALERTS": {"alertname", "alertstate"}}
PROMTOOL = shutil.which("promtool")


def _exposed() -> dict[str, set[str]]:
    """The labels of every series on a registry like the daemon's, by its name."""
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    metrics = Metrics.create(registry)
    for each in fields(Metrics):
        if labels := each.metadata.get("labels"):
            getattr(metrics, each.name).labels(*labels)
    samples = [sample for family in registry.collect() for sample in family.samples]
    return {sample.name: {label for s in samples if s.name == sample.name for label in s.labels} for sample in samples}


def _asked(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:signaged|process)_\w+|\bALERTS\b", expression))


def _labels(expression: str) -> set[str]:
    grouped = ",".join(re.findall(r"\bby \(([^)]*)\)", expression))
    matched = ",".join(re.findall(r"\{([^}]*)\}", expression))
    return set(re.findall(r"\w+", grouped)) | set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matched))


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    return not (beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"])


def test_it_can_be_imported_anywhere_and_every_panel_says_what_it_shows() -> None:
    assert (DASHBOARD["uid"], DASHBOARD["refresh"], DASHBOARD.get("id")) == ("signaged", "10s", None)
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    shown = [panel for panel in PANELS if panel["type"] != "row"]
    for panel in shown:
        assert re.fullmatch(r"[A-Z][^\n]*\.", panel["description"]), panel["title"]
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    for one, other in combinations(PANELS, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title}-{target['refId']}" for title, target in TARGETS])
def test_panels_ask_for_what_there_is(title: str, target: dict[str, Any]) -> None:
    exposed = _exposed() | ALERTS
    asked = _asked(target["expr"])
    assert asked
    assert asked <= set(exposed)
    there = ADDED.union(*(exposed[name] for name in asked))
    assert _labels(target["expr"]) <= there
    grouped = re.search(r"\bby \(([^)]*)\)", target["expr"])
    kept = set(re.findall(r"\w+", grouped[1])) if grouped else there
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, title


def test_no_metric_is_left_out() -> None:
    asked = {name.removesuffix("_bucket") for _, target in TARGETS for name in _asked(target["expr"])}
    assert {f"signaged_{each.name}" for each in fields(Metrics) if each.metadata} <= asked


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    rules = []
    for number, (_, target) in enumerate(TARGETS):
        expression = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*")
        assert "$" not in expression
        rules.append({"record": f"dashboard:{number}", "expr": expression})
    file = tmp_path / "dashboard.rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    ended = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
