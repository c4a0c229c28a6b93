"""`promtool` on the rules: they are sound, and each alert fires when it should and not when it should not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.components import require_program
from tests.operations.alert_cases import CASES, Case
from tests.operations.prometheus import MISSING
from tests.operations.queries import RULES, rules

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [require_program("promtool", MISSING), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_rules_are_sound() -> None:
    """`promtool check rules` has nothing to say."""
    checked = promtool("check", "rules", *map(str, sorted(RULES.glob("*.yaml"))))

    assert checked.returncode == 0, checked.stderr


def test_every_alert_has_a_case() -> None:
    """No alert goes untried."""
    assert {case.alert for case in CASES} == {rule["alert"] for rule in rules() if "alert" in rule}


@pytest.mark.parametrize("case", CASES, ids=[f"{n} {case.alert}" for n, case in enumerate(CASES)])
def test_an_alert_fires_when_it_should_and_not_else(case: Case, tmp_path: Path) -> None:
    """It fires under the one set of series, with its labels, and is silent under the other."""
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(_file(case)), encoding="utf-8")

    tested = promtool("test", "rules", str(path))

    assert tested.returncode == 0, tested.stderr + tested.stdout


def _order() -> list[str]:
    """Groups, those that record before those that alert: beyond five minutes a step, alerts read this step's alone."""
    groups = [g for path in sorted(RULES.glob("*.yaml")) for g in yaml.safe_load(path.read_text())["groups"]]
    return [g["name"] for g in sorted(groups, key=lambda g: any("alert" in rule for rule in g["rules"]))]


def _file(case: Case) -> dict[str, Any]:
    labels = "".join(f',{name}="{value}"' for name, value in case.labels.items())
    firing = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"{labels}}}) or vector(0)'
    return {
        "rule_files": [str(path) for path in sorted(RULES.glob("*.yaml"))],
        "evaluation_interval": case.step,
        "group_eval_order": _order(),
        "tests": [
            {
                "interval": case.step,
                "name": name,
                "input_series": [{"series": key, "values": values} for key, values in series.items()],
                "promql_expr_test": [
                    {"expr": firing, "eval_time": case.at, "exp_samples": [{"labels": "{}", "value": expected}]}
                ],
            }
            for name, series, expected in (("fires", case.fires, 1), ("is quiet", case.quiet, 0))
        ],
    }
