"""What a PromQL expression reads: metrics, matchers and groupings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from deploy.dashboards.boards import FILES as DASHBOARDS
from worker.authority.catalogue import CATALOGUE as COUNTED
from worker.authority.observed import OBSERVED
from worker.metrics.catalogue import CATALOGUE, VERIFIER
from worker.metrics.metric import OWN_WORDS, WORDS, Metric

AUTHORITY = (*COUNTED, *OBSERVED)
RULES = DASHBOARDS.parent / "rules"
_PROCESS = ("virtual_memory_bytes", "resident_memory_bytes", "start_time_seconds", "cpu_seconds_total", "open_fds")
_TARGET = frozenset({"instance", "job"})


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression and where it stands."""

    place: str
    text: str

    @property
    def selectors(self) -> list[tuple[str, dict[str, tuple[str, str]]]]:
        """Each metric read, with its matchers: label to operator and value."""
        return [
            (node.name or "", {m.name: (str(m.op).rpartition(".")[2], m.value) for m in node.matchers.matchers})
            for node in _nodes(promql_parser.parse(self.executable()))
            if isinstance(node, promql_parser.VectorSelector)
        ]

    @property
    def groupings(self) -> list[tuple[list[str], list[str]]]:
        """Labels that an aggregation keeps, with the metrics inside it."""
        return [
            (
                list(node.modifier.labels),
                [n.name or "" for n in _nodes(node) if isinstance(n, promql_parser.VectorSelector)],
            )
            for node in _nodes(promql_parser.parse(self.executable()))
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None
        ]

    def executable(self, **chosen: str) -> str:
        """Return the expression with Grafana's variables replaced; a variable that is not chosen takes all."""
        text = self.text.replace("$__rate_interval", "1m")
        return re.sub(r"\$(region|route|instance)\b", lambda found: chosen.get(found[1], ".*"), text)


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        inner = getattr(node, name, None)
        if inner is not None:
            yield from _nodes(inner)
    for inner in getattr(node, "args", None) or ():
        yield from _nodes(inner)


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """Return every committed dashboard by its file's name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a dashboard's panels, rows left out."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def panel_expressions() -> list[Expression]:
    """Return every target of every panel, and every annotation."""
    found = []
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            found += [Expression(f"{name}/{panel['title']}/{t['refId']}", t["expr"]) for t in panel["targets"]]
        marks = dashboard.get("annotations", {}).get("list", [])
        found += [Expression(f"{name}/annotation/{mark['name']}", mark["expr"]) for mark in marks]
    return found


@cache
def rules() -> list[dict[str, Any]]:
    """Return every rule."""
    return [
        rule
        for path in sorted(RULES.glob("*.yaml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def rule_expressions() -> list[Expression]:
    """Return the expression of every rule."""
    return [Expression(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


@cache
def known_labels() -> dict[str, frozenset[str]]:
    """Return every series name that exists, with its labels."""
    found: dict[str, frozenset[str]] = {
        "up": _TARGET,
        "ALERTS": frozenset({"alertname", "alertstate", "severity", "region"}),
        **{f"process_{name}": _TARGET | {"region", "process"} for name in (*_PROCESS, "max_fds")},
    }
    for metric in (*CATALOGUE, *VERIFIER, *AUTHORITY):
        labels = frozenset(metric.labels) | _TARGET | {"region"}
        found |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in series(metric)}
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] = frozenset(rule["record"].partition(":")[0].split("_"))
    return found


def series(metric: Metric) -> list[str]:
    """Return the names of a metric's series."""
    if metric.kind != "histogram":
        return [metric.name]
    return [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]


def words(metric: str, label: str) -> tuple[str, ...] | None:
    """Return the values that a label of fixed words may have; None where it is no such label."""
    return OWN_WORDS.get((metric, label)) or WORDS.get(label)


def runbooks() -> Path:
    """Return where the pages are."""
    return Path(__file__).resolve().parents[2] / "docs" / "runbooks"
