"""Draws what `make bench --json` wrote: `python -m tests.bench.hot_plot FIGURES.json PLOT.svg`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path)
    parser.add_argument("plot", type=Path)
    asked = parser.parse_args()
    told = json.loads(asked.figures.read_text())
    counts, rounds = told["records"], told["rounds"]
    names = [name for name in rounds[0] if rounds[0][name]["seconds"] > 0]
    cpu = [median(r[name]["cpu_s"] for r in rounds) / counts[name] * 1e6 for name in names]
    rate = [counts[name] / median(r[name]["seconds"] for r in rounds) / 1e3 for name in names]
    matplotlib.rcParams["svg.hashsalt"] = "hot"
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 0.4 * len(names) + 1.5), sharey=True)
    colours = ["#2f6f9f" if name.startswith("worker") else "#9f9f9f" for name in names]
    for axes, values, title in (
        (left, cpu, "CPU seconds of the client, a million records"),
        (right, rate, "thousand records a second"),
    ):
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, fmt="%.1f", padding=3)
        axes.set_title(title, fontsize=10)
        if max(values) > 20 * min(values):
            axes.set_xscale("log")
        axes.margins(x=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.invert_yaxis()
    figure.tight_layout()
    # The same figures are the same file.
    figure.savefig(asked.plot, metadata={"Date": None})


if __name__ == "__main__":
    main()
