"""What a dashboard is made of, before Grafana's own many words for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, TypedDict, Unpack

Kind = Literal["graph", "stat", "table", "states"]
Step = tuple[float | None, str]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and how its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """
    One panel.

    Args:
        title: what is seen.
        help: what it means and what to do about it.
        unit: Grafana's name of the unit.
        queries: at least one.
        kind: how it is drawn.
        steps: colours from a value on, the first from None.
        words: texts that stand for values.
        width: of 24.
        stacked: whether the series add up to something.
        runbook: the page that says what to do.
        may_be_empty: why no data may be expected in a sound installation; empty where data is.
    """

    title: str
    help: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "graph"
    steps: tuple[Step, ...] = ((None, "green"),)
    words: tuple[tuple[str, str, str], ...] = ()
    width: int = 8
    height: int = 8
    stacked: bool = False
    runbook: str = ""
    may_be_empty: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label, several at once where `multi`."""

    name: str
    label: str
    query: str
    multi: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line where a query has a value."""

    name: str
    expr: str
    colour: str
    text: str


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; `uid` is also its file's name and never changes."""

    uid: str
    title: str
    help: str
    variables: tuple[Variable, ...]
    marks: tuple[Mark, ...]
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Every panel."""
        return tuple(panel for row in self.rows for panel in row.panels)


def q(expr: str, legend: str = "") -> Query:
    """Return a query, its expression on one line."""
    return Query(" ".join(expr.split()), legend)


class Shape(TypedDict, total=False):
    """What a panel has besides, by the names of `Panel`."""

    steps: tuple[Step, ...]
    words: tuple[tuple[str, str, str], ...]
    width: int
    height: int
    stacked: bool
    runbook: str
    may_be_empty: str


def _panel(kind: Kind, title: str, help: str, unit: str, *queries: Query, **shape: Unpack[Shape]) -> Panel:
    return Panel(title=title, help=help, unit=unit, queries=queries, kind=kind, **shape)


graph = partial(_panel, "graph")
"""Lines over time: title, help, unit, queries, and a `Shape` by name."""
stat = partial(_panel, "stat")
"""Large numbers, one a series."""
table = partial(_panel, "table")
"""A line of labels and value for each series."""
states = partial(_panel, "states")
"""Bands of colour over time, by `words`."""
