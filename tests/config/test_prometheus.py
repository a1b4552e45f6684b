"""The alert rules that ship with the daemon: promtool finds them sound, each fires when it must, none names a ghost."""

import re
import shutil
import subprocess
from pathlib import Path

import prometheus_client
import pytest
import yaml

from daemon.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "config" / "prometheus"
RULES = sorted(FOLDER.glob("*.rules.yml"))
PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.name)
def test_rules_fire_when_they_must(rules: Path) -> None:
    tests = rules.with_name(rules.name.replace(".rules.", ".test."))
    for arguments in (("check", "rules", rules.name), ("test", "rules", tests.name)):
        ended = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.name)
def test_rules_name_metrics_that_there_are_and_each_is_tested(rules: Path) -> None:
    registry = prometheus_client.CollectorRegistry()
    Metrics.create(registry)
    known = {sample.name for family in registry.collect() for sample in family.samples}
    known |= {f"{family.name}_total" for family in registry.collect() if family.type == "counter"}
    known |= {family.name for family in registry.collect()}
    tested = rules.with_name(rules.name.replace(".rules.", ".test.")).read_text(encoding="utf-8")
    for group in yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            assert set(re.findall(r"signaged_\w+", rule["expr"])) <= known
            assert rule["alert"] in tested
