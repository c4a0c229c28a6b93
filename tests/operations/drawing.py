"""A small renderer of dashboards: cards where Grafana has panels, lines, tiles, bands and tables in them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

_DPI = 100
_WIDTH, _LINE, _HEAD, _GAP = 1500, 34, 54, 4
_BACK, _CARD, _TEXT, _FAINT, _GRID = "#111217", "#181b1f", "#d5d5de", "#8e8e98", "#2c3235"
_COLOURS = {"green": "#3f8f48", "orange": "#d9822b", "red": "#c4303f", "blue": "#3274d9", "purple": "#8f3bb8"}
_LINES = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#cca300", "#64b0c8")
_SHOWN = 12
_CHARACTER = 5.6
_TIMES = ((172_800.0, 86_400.0, "d"), (7_200.0, 3_600.0, "h"), (600.0, 60.0, "min"), (1.0, 1.0, "s"))
Found = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """
    One panel with what its queries found.

    Args:
        panel: as the dashboard's JSON has it.
        found: series by their legend; of a `stat` or `table` with one value each.
        start: seconds since 1970.
        end: likewise.
        step_s: between two values.
    """

    panel: Mapping[str, Any]
    found: Found
    start: float
    end: float
    step_s: float

    @property
    def unit(self) -> str:
        """Grafana's name of the unit."""
        return str(self.panel["fieldConfig"]["defaults"]["unit"])

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Colours from a value on."""
        return list(self.panel["fieldConfig"]["defaults"]["thresholds"]["steps"])

    @property
    def words(self) -> dict[str, str]:
        """Texts that stand for values."""
        mappings = self.panel["fieldConfig"]["defaults"].get("mappings", [])
        return {value: shown["text"] for each in mappings for value, shown in each["options"].items()}


class Canvas:
    """A figure in pixels from its upper left corner."""

    def __init__(self, lines: int) -> None:
        self.height = _HEAD + lines * _LINE + 8
        self.figure: Figure = plt.figure(figsize=(_WIDTH / _DPI, self.height / _DPI), facecolor=_BACK, dpi=_DPI)

    def text(self, x: float, y: float, text: str, size: float, colour: str = _TEXT, **more: Any) -> None:
        """Write, centred on a height."""
        self.figure.text(x / _WIDTH, 1 - y / self.height, text, color=colour, fontsize=size, va="center", **more)

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Draw a filled box."""
        place = (x / _WIDTH, 1 - (y + height) / self.height)
        shape = FancyBboxPatch(
            place,
            width / _WIDTH,
            height / self.height,
            boxstyle="square,pad=0",
            facecolor=colour,
            edgecolor="none",
            transform=self.figure.transFigure,
            zorder=-1,
        )
        self.figure.add_artist(shape)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Return axes in a place."""
        found = self.figure.add_axes((x / _WIDTH, 1 - (y + height) / self.height, width / _WIDTH, height / self.height))
        found.set_facecolor(_CARD)
        for side, spine in found.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(_GRID)
        found.tick_params(colors=_FAINT, labelsize=7, length=0)
        return found


def draw(dashboard: Mapping[str, Any], panels: Sequence[Drawn]) -> Figure:
    """Return a dashboard's picture."""
    everything = dashboard["panels"]
    canvas = Canvas(max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in everything))
    canvas.text(12, _HEAD / 2, dashboard["title"], 15, weight="bold")
    canvas.text(_WIDTH - 12, _HEAD / 2, dashboard["description"], 8.5, _FAINT, ha="right")
    for row in (p for p in everything if p["type"] == "row"):
        canvas.text(12, _HEAD + (row["gridPos"]["y"] + 0.5) * _LINE, row["title"], 11, weight="bold")
    for each in panels:
        place = each.panel["gridPos"]
        column = (_WIDTH - 16) / 24
        x, y = 8 + place["x"] * column + _GAP, _HEAD + place["y"] * _LINE + _GAP
        width, height = place["w"] * column - 2 * _GAP, place["h"] * _LINE - 2 * _GAP
        canvas.box(x, y, width, height, _CARD)
        canvas.text(x + 10, y + 14, each.panel["title"], 8.5, weight="bold")
        _DRAW[each.panel["type"] if each.found else "nothing"](canvas, each, x, y + 26, width, height - 30)
    return canvas.figure


def _nothing(canvas: Canvas, _: Drawn, x: float, y: float, width: float, height: float) -> None:
    canvas.text(x + width / 2, y + height / 2, "no data", 9, _FAINT, ha="center")


def _graph(canvas: Canvas, drawn: Drawn, x: float, y: float, width: float, height: float) -> None:
    lines = list(_wrapped([legend for legend, _ in drawn.found], width - 20))
    below = 13 * len(lines) + 6
    axes = canvas.axes(x + 66, y + 4, width - 80, height - below - 24)
    highest = 0.0
    for number, (_, one) in enumerate(drawn.found):
        points = [(float(t) - drawn.end, float(v)) for t, v in one["values"]]
        highest = max([highest, *(v for _, v in points if v < float("inf"))])
        colour = _LINES[number % len(_LINES)]
        axes.plot(*zip(*points, strict=True), linewidth=1.2, color=colour, marker="." if len(points) < 4 else "")
    scale = _scale(drawn.unit, highest)
    marks = [mark * scale for mark in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(0, highest / scale or 1)]
    axes.set_yticks([mark for mark in marks if mark >= 0], [shown(m, drawn.unit) for m in marks if m >= 0])
    axes.set_ylim(0, (highest or scale) * 1.08)
    axes.set_xlim(drawn.start - drawn.end, 0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s" if value else "now")
    axes.grid(color=_GRID, linewidth=0.5)
    for step in drawn.steps[1:]:
        if axes.get_ylim()[1] >= step["value"]:
            axes.axhline(step["value"], color=_COLOURS[step["color"]], linestyle="--", linewidth=0.8)
    for line, names in enumerate(lines):
        at = x + 10
        for number, word in names:
            level = y + height - below + 13 * line + 9
            canvas.box(at, level - 1.5, 12, 3, _LINES[number % len(_LINES)])
            canvas.text(at + 16, level, word, 7, _FAINT)
            at += 28 + len(word) * _CHARACTER


def _wrapped(names: Sequence[str], width: float) -> Iterator[list[tuple[int, str]]]:
    """Yield the lines of a legend: places and names; of many series the first ones."""
    line: list[tuple[int, str]] = []
    used = 0.0
    told = [*names[:_SHOWN], *([f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])]
    for number, name in enumerate(textwrap.shorten(each, 48, placeholder="…") for each in told):
        need = 28 + len(name) * _CHARACTER
        if line and used + need > width:
            yield line
            line, used = [], 0.0
        line.append((number, name))
        used += need
    yield line


def _states(canvas: Canvas, drawn: Drawn, x: float, y: float, width: float, height: float) -> None:
    names = [textwrap.shorten(legend, 40, placeholder="…") for legend, _ in drawn.found]
    left = 20 + max(len(name) for name in names) * _CHARACTER
    axes = canvas.axes(x + left, y + 4, width - left - 14, height - 30)
    for line, (_, one) in enumerate(drawn.found):
        for at, value in one["values"]:
            colour = _colour(float(value), drawn.steps)
            axes.barh(line, drawn.step_s, left=float(at) - drawn.end, height=0.82, color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(drawn.start - drawn.end, 0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s" if value else "now")


def _tiles(canvas: Canvas, drawn: Drawn, x: float, y: float, width: float, height: float) -> None:
    tall = height / len(drawn.found)
    for line, (legend, one) in enumerate(drawn.found):
        value, top = float(one["value"][1]), y + line * tall
        canvas.box(x + 6, top + 2, width - 12, tall - 4, _colour(value, drawn.steps))
        told = drawn.words.get(f"{value:g}", shown(value, drawn.unit))
        room = width - 40 - len(legend) * _CHARACTER
        canvas.text(x + 14, top + tall / 2, legend, 7.5, "white")
        size = min(18.0, tall / 3, room / max(1, len(told)) * 1.15)
        canvas.text(x + width - 14, top + tall / 2, told, size, "white", ha="right", weight="bold")


def _table(canvas: Canvas, drawn: Drawn, x: float, y: float, width: float, _height: float) -> None:
    names = sorted({name for _, one in drawn.found for name in one["metric"] if name != "__name__"})
    columns = [*names, "value"]
    wide = (width - 20) / len(columns)
    for number, name in enumerate(columns):
        canvas.text(x + 12 + number * wide, y + 10, name, 8, "#6e9fff")
    for line, (_, one) in enumerate(drawn.found[:_SHOWN]):
        level = y + 32 + 20 * line
        canvas.box(x + 8, level - 11, width - 16, 0.8, _GRID)
        cells = [*(one["metric"].get(name, "") for name in names), shown(float(one["value"][1]), drawn.unit)]
        room = max(8, int(wide / _CHARACTER) - 1)
        for number, cell in enumerate(cells):
            canvas.text(x + 12 + number * wide, level, textwrap.shorten(cell, room, placeholder="…"), 8)


_DRAW = {"nothing": _nothing, "timeseries": _graph, "state-timeline": _states, "stat": _tiles, "table": _table}


def _colour(value: float, steps: list[dict[str, Any]]) -> str:
    chosen = steps[0]["color"]
    for step in steps[1:]:
        if value >= step["value"]:
            chosen = step["color"]
    return _COLOURS[chosen]


def legend(form: str, labels: Mapping[str, str]) -> str:
    """Return what a series is called."""
    if form in ("", "__auto"):
        return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "__name__") or "value"
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), form).strip()


def _scale(unit: str, highest: float) -> float:
    """Return what marks are multiples of."""
    scale = 1.0
    while unit in ("bytes", "Bps") and highest >= 1024 * scale:
        scale *= 1024
    if unit == "s":
        return next((size for least, size, _ in _TIMES if highest >= least), 0.001)
    return scale


def shown(value: float, unit: str) -> str:
    """Return a value in its unit, as Grafana would write it."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for least, size, word in _TIMES:
            if abs(value) >= least:
                return f"{value / size:.3g} {word}"
        return f"{value * 1000:.3g} ms" if value else "0 s"
    per = {"Bps": "/s", "reqps": "/s"}.get(unit, "")
    base, suffixes = (1024, ("B", "KiB", "MiB", "GiB")) if unit in ("bytes", "Bps") else (1000, ("", "k", "M", "G"))
    for suffix in suffixes[:-1]:
        if abs(value) < base:
            return f"{value:.3g}{' ' if suffix else ''}{suffix}{per}"
        value /= base
    return f"{value:.3g} {suffixes[-1]}{per}"
