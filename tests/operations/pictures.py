"""
`python -m tests.operations.pictures DIRECTORY`: each dashboard drawn from the data of a real run.

There is no Grafana here: a small renderer of the committed JSON asks the Prometheus of that run for every panel's
queries and draws what comes back. It shows the panels' data, units, thresholds and places, not Grafana's looks.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from tests.components import running_kafka, running_postgres
from tests.operations.drawing import Drawn, draw, legend
from tests.operations.prometheus import Prometheus, Series
from tests.operations.queries import Expression, dashboards
from tests.operations.stand import under_load

_SECONDS = 120
_STEP_S = 2


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
            panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
            figure = draw(dashboard, [asked(panel, prometheus, chosen) for panel in panels])
            figure.savefig(directory / f"{name}.png", facecolor=figure.get_facecolor())
            plt.close(figure)
            print(directory / f"{name}.png")


def asked(panel: Mapping[str, Any], prometheus: Prometheus, chosen: Mapping[str, str]) -> Drawn:
    """Return a panel with what Prometheus answers to its queries now."""
    found = []
    end = time.time()
    for target in panel["targets"]:
        expression = Expression(panel["title"], target["expr"]).executable(**chosen)
        if panel["type"] in ("stat", "table"):
            # A scrape that came late on a busy machine is waited for.
            series: Series = prometheus.query(expression) if prometheus.has_data(expression) else []
        else:
            series = prometheus.query_range(expression, end - _SECONDS, end, _STEP_S)
        found += [(legend(target.get("legendFormat", ""), one["metric"]), one) for one in series]
    found.sort(key=lambda item: item[0])
    return Drawn(panel, found, end - _SECONDS, end, _STEP_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
