"""Alerts and recording rules: complete, named by convention, and explained."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy.dashboards.grafana import RUNBOOKS
from tests.operations.queries import Expression, rules, runbooks

ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDS = [rule for rule in rules() if "record" in rule]
HEADINGS = ("## Meaning", "## Impact", "## Look at", "## Do")


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_an_alert_says_how_grave_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    """Severity, summary, description, and a page with four headings that names the alert."""
    page = runbooks() / alert["annotations"]["runbook_url"].removeprefix(f"{RUNBOOKS}/")

    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")
    text = page.read_text(encoding="utf-8")
    assert [heading for heading in HEADINGS if f"\n{heading}\n" not in text] == []
    assert alert["alert"] in text


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_an_alert_s_text_uses_labels_that_it_has(alert: dict[str, Any]) -> None:
    """`{{ $labels.x }}` is empty unless the expression keeps x."""
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
    expression = Expression(alert["alert"], alert["expr"])
    kept = {label for labels, _ in expression.groupings for label in labels}
    for name, _ in expression.selectors:
        if ":" in name:
            kept |= set(name.partition(":")[0].split("_"))
        if name == "up":
            kept |= {"instance", "job"}

    assert used <= kept


def test_every_page_belongs_to_an_alert_or_says_that_it_is_an_index() -> None:
    """No page is left over, and the index names each."""
    pages = {alert["annotations"]["runbook_url"].rpartition("/")[2] for alert in ALERTS}
    found = {path.name for path in runbooks().glob("*.md")}
    index = (runbooks() / "README.md").read_text(encoding="utf-8")

    assert found == pages | {"README.md"}
    assert [page for page in sorted(pages) if page not in index] == []


@pytest.mark.parametrize("record", RECORDS, ids=[record["record"] for record in RECORDS])
def test_a_recorded_name_says_its_labels(record: dict[str, Any]) -> None:
    """level:metric:operation, and the level names the labels that are left."""
    level, metric, operation = record["record"].split(":")
    kept = [labels for labels, _ in Expression(record["record"], record["expr"]).groupings]

    assert metric.startswith("worker_")
    assert operation
    if kept:
        assert kept[0] == level.split("_")
