"""Every panel's and every rule's query, executed by a real Prometheus over workers and authorities under load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deploy.dashboards.boards import BOARDS
from tests.components import Kafka, require_program
from tests.operations.prometheus import MISSING, Prometheus
from tests.operations.queries import Expression, known_labels, panel_expressions, rule_expressions
from tests.operations.stand import Region, under_load

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(600)]
EMPTY_IN_PEACE = {
    "an alert": "an alert's expression is empty as long as nothing is wrong; its unit test lets it fire",
}
_CHOICES = {"region": ".*", "route": ".*", "instance": ".*"}
_MAY_BE_EMPTY = {f"{board.uid}/{panel.title}" for board in BOARDS for panel in board.panels if panel.may_be_empty}


@pytest.fixture(scope="module")
def watched(
    kafka: Kafka, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prometheus, Sequence[Region]]]:
    """Prometheus after a while under load."""
    require_program("prometheus", MISSING)
    directory: Path = tmp_path_factory.mktemp("operations")
    with under_load(kafka, postgres, directory) as (prometheus, regions):
        for route in ("topic", "table"):
            for region in regions:
                finished = f'sum(worker_records_total{{region="{region.site.region}",route="{route}"}})'
                prometheus.until(lambda query=finished: prometheus.value(query) > 4_000, finished, within_s=240)  # type: ignore[misc]
        prometheus.until(lambda: prometheus.value("sum(worker_dead_letters_total)") > 0, "poison was met")
        yield prometheus, regions


def test_every_target_answers(watched: tuple[Prometheus, Sequence[Region]]) -> None:
    """Workers, one of them of two processes, authorities and the verifier are scraped."""
    prometheus, _ = watched

    assert [series["value"][1] for series in prometheus.query("up")] == ["1"] * 5


def test_every_panel_shows_data(watched: tuple[Prometheus, Sequence[Region]]) -> None:
    """Each target of each panel returns series, unless the panel says why it may not."""
    prometheus, _ = watched

    empty = [
        expression.place
        for expression in panel_expressions()
        if "/annotation/" not in expression.place
        and expression.place.rpartition("/")[0] not in _MAY_BE_EMPTY
        and not prometheus.has_data(expression.executable(**_CHOICES))
    ]

    assert empty == []


def test_every_annotation_is_executable(watched: tuple[Prometheus, Sequence[Region]]) -> None:
    """A mark's query is well formed for Prometheus; the first assignment has just been one."""
    prometheus, _ = watched
    marks = [expression for expression in panel_expressions() if "/annotation/" in expression.place]

    for expression in marks:
        prometheus.query(expression.executable(**_CHOICES))

    assert marks


def test_every_rule_is_evaluated_and_every_record_has_data(watched: tuple[Prometheus, Sequence[Region]]) -> None:
    """No rule errs; what is recorded is there to be read."""
    prometheus, _ = watched
    recorded = [e.place for e in rule_expressions() if ":" in e.place]

    assert prometheus.unhealthy() == []
    assert [name for name in recorded if not prometheus.has_data(name)] == []


def test_an_alert_s_series_exist_in_peace(watched: tuple[Prometheus, Sequence[Region]]) -> None:
    """An alert is silent because nothing is wrong, and not because what it reads does not exist."""
    prometheus, _ = watched
    missing = {
        (expression.place, name)
        for expression in rule_expressions()
        for name, matchers in expression.selectors
        if not prometheus.has_data(_selector(name, matchers))
    }

    assert missing == set()


def _selector(name: str, matchers: dict[str, tuple[str, str]]) -> str:
    signs = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
    # A status that did not occur has no series: the label's name is held by the unit tests.
    kept = [f'{label}{signs[op]}"{value}"' for label, (op, value) in matchers.items() if label != "status"]
    return f"{name}{{{','.join(kept)}}}"


def test_every_exported_series_has_the_labels_of_the_catalogue(watched: tuple[Prometheus, Sequence[Region]]) -> None:
    """What Prometheus has stored of a metric carries the documented labels and no other."""
    prometheus, _ = watched
    known = known_labels()
    strange = set()
    for series in prometheus.query('{__name__=~"(worker|authority|process)_.+"}'):
        labels = dict(series["metric"])
        name = labels.pop("__name__")
        # What Prometheus itself names.
        strange |= {(name, label) for label in labels.keys() - known.get(name, frozenset())}

    assert {item for item in strange if not item[1].startswith("exported_")} == set()


def test_the_workers_page_passes_promtool(watched: tuple[Prometheus, Sequence[Region]]) -> None:
    """`promtool check metrics` finds nothing to say, in one process and in several."""
    import subprocess

    import httpx

    _, regions = watched
    for region in regions:
        page = httpx.get(f"http://127.0.0.1:{region.port}/metrics", timeout=30).content
        checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, b"")


def test_expressions_are_many(watched: tuple[Prometheus, Sequence[Region]]) -> None:
    """The suite looks at something."""
    assert len(panel_expressions()) > 60
    assert isinstance(rule_expressions()[0], Expression)
