"""The committed dashboards: what the code makes, complete, and asking only for what exists."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy.dashboards.boards import BOARDS, FILES
from deploy.dashboards.grafana import RUNBOOKS, as_json
from deploy.dashboards.model import Board
from tests.operations.queries import (
    AUTHORITY,
    Expression,
    dashboards,
    known_labels,
    panel_expressions,
    panels,
    rule_expressions,
    runbooks,
    series,
    words,
)
from worker.metrics.catalogue import CATALOGUE, VERIFIER

EXPRESSIONS = [*panel_expressions(), *rule_expressions()]
PANELS = [pytest.param(panel, id=f"{name}/{panel['title']}") for name, d in dashboards().items() for panel in panels(d)]
UNITS = {"seconds": {"s"}, "bytes": {"bytes", "Bps"}}


@pytest.mark.parametrize("board", BOARDS, ids=[board.uid for board in BOARDS])
def test_the_committed_json_is_what_the_code_makes(board: Board) -> None:
    """Byte for byte, so that a change is reviewed where it was made."""
    assert (FILES / f"{board.uid}.json").read_text(encoding="utf-8") == as_json(board)


def test_every_committed_file_has_its_code() -> None:
    """No dashboard is left over."""
    assert {path.stem for path in FILES.glob("*")} == {board.uid for board in BOARDS}


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=[e.place for e in EXPRESSIONS])
def test_an_expression_asks_only_for_what_exists(expression: Expression) -> None:
    """Each metric is in a catalogue, each label is one of its own, each word in a matcher is one it may have."""
    known = known_labels()

    for name, matchers in expression.selectors:
        assert name in known, f"there is no metric {name}"
        assert set(matchers) <= known[name], f"{name} has no label {set(matchers) - known[name]}"
        for label, (operator, value) in matchers.items():
            allowed = words(name, label)
            if allowed is not None and operator in ("Equal", "NotEqual"):
                assert value in allowed, f"{name}: {label} is never {value!r}"
    for kept, names in expression.groupings:
        labels = frozenset[str]().union(*(known[name] for name in names))
        assert set(kept) <= labels, f"{names} have no label {set(kept) - labels}"


def test_every_metric_is_on_a_dashboard_or_in_a_rule() -> None:
    """What nobody looks at is not worth exporting."""
    used = {name for expression in EXPRESSIONS for name, _ in expression.selectors}

    assert [m.name for m in (*CATALOGUE, *VERIFIER, *AUTHORITY) if not used & set(series(m))] == []


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_is_complete(panel: dict[str, Any]) -> None:
    """A title, a description that says something, a unit, thresholds and a data source to choose."""
    assert panel["title"]
    assert len(panel["description"]) > 40
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert panel["datasource"]["uid"] == "$datasource"
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_the_unit_of_its_metrics(panel: dict[str, Any]) -> None:
    """Seconds are shown as seconds and bytes as bytes, unless they are divided by something."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        expression = Expression(panel["title"], target["expr"])
        for name, _ in expression.selectors:
            base = name.removesuffix("_total").removesuffix("_bucket").rpartition("_")[2]
            # A rate of seconds is a share of the time, and of processor seconds a number of cores.
            if base in UNITS and " / " not in target["expr"] and not name.startswith("process_cpu"):
                assert unit in UNITS[base], f"{name} is shown as {unit}"


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_s_runbook_exists(panel: dict[str, Any]) -> None:
    """A link leads to a page."""
    for link in panel.get("links", []):
        assert (runbooks() / link["url"].removeprefix(f"{RUNBOOKS}/")).is_file()


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_a_dashboard_keeps_the_linter_s_rules(name: str) -> None:
    """No fixed data source, unique ids, panels that do not overlap, rates over counters by Grafana's own interval."""
    dashboard = dashboards()[name]
    variables = [variable["name"] for variable in dashboard["templating"]["list"]]

    assert dashboard["uid"] == name
    assert variables[:2] == ["datasource", "region"]
    assert not dashboard["editable"]
    ids = [panel["id"] for panel in dashboard["panels"] if panel.get("id")]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in panels(dashboard)]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({(place["x"], place["y"]) for place in places}) == len(places)
    for panel in panels(dashboard):
        for target in panel["targets"]:
            assert not re.search(r"rate\([^)]*\[\d", target["expr"]), "a rate takes $__rate_interval"
            assert not re.search(r"(?<![e_])rate\(\s*sum", target["expr"]), "a sum of rates, not a rate of a sum"
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= set(variables)


def test_counters_are_read_as_rates_or_growth() -> None:
    """A bare counter says nothing after a restart; the one of plaintext found is the exception that must not reset."""
    bare = []
    for expression in EXPRESSIONS:
        for name, _ in expression.selectors:
            counter = name.endswith(("_total", "_count", "_sum", "_bucket"))
            inside = re.search(rf"(rate|increase)\({name}\b", expression.text)
            if counter and not inside and name != "worker_verify_plaintext_total":
                bare.append((expression.place, name))

    assert bare == []
