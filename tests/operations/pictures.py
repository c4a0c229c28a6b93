"""
`python -m tests.operations.pictures DIRECTORY`: each dashboard drawn from the data of a real run.

There is no Grafana here: a small renderer of the committed JSON asks the Prometheus of that run for every panel's
queries and draws what comes back. It shows the panels' data, units, thresholds and places, not Grafana's looks.
"""

from __future__ import annotations

import re
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tests.components import running_kafka, running_postgres
from tests.operations.prometheus import Prometheus, Series
from tests.operations.queries import Expression, dashboards
from tests.operations.stand import under_load

_SECONDS = 150
_STEP_S = 2
_COLUMN, _LINE = 0.62, 0.36
_COLOURS = {"green": "#56a64b", "orange": "#ff9830", "red": "#e02f44", "blue": "#3274d9", "purple": "#8f3bb8"}
_BACK, _PANEL, _TEXT, _GRID = "#111217", "#181b1f", "#ccccdc", "#2c3235"
_SHOWN = 10
Found = list[tuple[str, dict[str, Any]]]


def main(directory: Path) -> None:
    """Run the stand and draw every dashboard."""
    mpl.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    with (
        running_kafka() as kafka,
        running_postgres() as postgres,
        tempfile.TemporaryDirectory() as temporary,
        under_load(kafka, postgres, Path(temporary) / "run") as (prometheus, regions),
    ):
        finished = "min(sum by (region, route) (worker_records_total))"
        prometheus.until(lambda: prometheus.value(finished) > 200, "records flow", within_s=300)
        began = time.time()
        while time.time() < began + _SECONDS:
            time.sleep(1)
        for name, dashboard in dashboards().items():
            # One region in depth where the board has one; all of them elsewhere.
            single = any(v["name"] == "region" and not v.get("multi") for v in dashboard["templating"]["list"])
            chosen = {"region": regions[0].site.region} if single else {}
            draw(dashboard, prometheus, directory / f"{name}.png", chosen)
            print(directory / f"{name}.png")


def draw(dashboard: Mapping[str, Any], prometheus: Prometheus, path: Path, chosen: Mapping[str, str]) -> None:
    """Draw one dashboard."""
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"])
    figure = plt.figure(figsize=(24 * _COLUMN, height * _LINE + 0.6), facecolor=_BACK, dpi=80)
    figure.text(0.01, 1 - 0.2 / (height * _LINE + 0.6), dashboard["title"], color=_TEXT, fontsize=15, va="top")
    end = time.time()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        box = _box(place, height)
        if panel["type"] == "row":
            y = ((height - place["y"] - 0.5) * _LINE + 0.1) / (height * _LINE + 0.6)
            figure.text(box[0], y, panel["title"], color=_TEXT, fontsize=11, weight="bold", va="center")
            continue
        axes = figure.add_axes(box, facecolor=_PANEL)
        axes.set_title(panel["title"], color=_TEXT, fontsize=8.5, loc="left", pad=3)
        for spine in axes.spines.values():
            spine.set_color(_GRID)
        axes.tick_params(colors=_TEXT, labelsize=6.5)
        _panel(axes, panel, prometheus, end, chosen)
    figure.savefig(path, facecolor=_BACK)
    plt.close(figure)


def _box(place: Mapping[str, int], height: int) -> tuple[float, float, float, float]:
    whole = height * _LINE + 0.6
    left, width = place["x"] / 24 + 0.022, place["w"] / 24 - 0.03
    bottom = ((height - place["y"] - place["h"]) * _LINE + 0.42) / whole
    return left, bottom, width, max(0.05, (place["h"] * _LINE - 0.78) / whole)


def _panel(axes: Axes, panel: Mapping[str, Any], prometheus: Prometheus, end: float, chosen: Mapping[str, str]) -> None:
    found: Found = []
    for target in panel["targets"]:
        expression = Expression(panel["title"], target["expr"]).executable(**chosen)
        if panel["type"] in ("stat", "table"):
            # A scrape that came late on a busy machine is waited for.
            series: Series = prometheus.query(expression) if prometheus.has_data(expression) else []
        else:
            series = prometheus.query_range(expression, end - _SECONDS, end, _STEP_S)
        found += [(_legend(target.get("legendFormat", ""), one["metric"]), one) for one in series]
    found.sort(key=lambda item: item[0])
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if not found:
        axes.text(0.5, 0.5, "no data", color="#8e8e8e", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
    elif panel["type"] == "timeseries":
        _graph(axes, panel, found, unit, end)
    elif panel["type"] == "state-timeline":
        _states(axes, panel, found, end)
    else:
        _values(axes, panel, found, unit)


def _graph(axes: Axes, panel: Mapping[str, Any], found: Found, unit: str, end: float) -> None:
    for legend, one in found:
        times = [float(t) - end for t, _ in one["values"]]
        axes.plot(times, [float(v) for _, v in one["values"]], linewidth=1, label=legend)
    axes.set_ylim(bottom=0)
    axes.grid(color=_GRID, linewidth=0.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")
    axes.yaxis.set_major_formatter(lambda value, _: _shown(value, unit))
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]:
        if axes.get_ylim()[1] >= step["value"]:
            axes.axhline(step["value"], color=_COLOURS[step["color"]], linestyle="--", linewidth=0.8)
    if len(found) <= _SHOWN:
        axes.legend(fontsize=5.5, facecolor=_PANEL, edgecolor=_GRID, labelcolor=_TEXT, loc="upper left", ncols=2)


def _states(axes: Axes, panel: Mapping[str, Any], found: Found, end: float) -> None:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    for line, (_, one) in enumerate(found):
        for at, value in one["values"]:
            axes.barh(line, _STEP_S, left=float(at) - end, height=0.8, color=_colour(float(value), steps))
    axes.set_yticks(range(len(found)), [legend for legend, _ in found], fontsize=6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")


def _values(axes: Axes, panel: Mapping[str, Any], found: Found, unit: str) -> None:
    axes.set_axis_off()
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    words = {
        k: v["text"] for m in panel["fieldConfig"]["defaults"].get("mappings", []) for k, v in m["options"].items()
    }
    for line, (legend, one) in enumerate(found[:_SHOWN]):
        value = float(one["value"][1])
        told = words.get(f"{value:g}", _shown(value, unit))
        text = textwrap.shorten(legend, 60) if panel["type"] == "table" else f"{textwrap.shorten(legend, 26)}  {told}"
        colour = _TEXT if panel["type"] == "table" else _colour(value, steps)
        y = 1 - (line + 0.5) / max(2, min(len(found), _SHOWN))
        axes.text(0.02, y, text, color=colour, fontsize=8, va="center", transform=axes.transAxes)


def _colour(value: float, steps: list[dict[str, Any]]) -> str:
    chosen = steps[0]["color"]
    for step in steps[1:]:
        if value >= step["value"]:
            chosen = step["color"]
    return _COLOURS[chosen]


def _legend(form: str, labels: Mapping[str, str]) -> str:
    if form in ("", "__auto"):
        return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "__name__") or "value"
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), form).strip()


def _shown(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return (
            f"{value:.3g} s"
            if value < 600
            else f"{value / 3600:.3g} h"
            if value < 172_800
            else f"{value / 86_400:.3g} d"
        )
    if unit in ("bytes", "Bps"):
        for suffix in ("B", "KiB", "MiB", "GiB", "TiB"):
            if abs(value) < 1024 or suffix == "TiB":
                return f"{value:.3g} {suffix}{'/s' if unit == 'Bps' else ''}"
            value /= 1024
    return f"{value:.3g}{'/s' if unit == 'reqps' else ''}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
