"""What a command that ends by itself says: a bar on a terminal while it runs, and a summary when it has ended."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import orjson
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from worker.cli.consoles import PlainConsole
from worker.pipeline.progress import RouteProgress

Bars = Callable[[Mapping[str, tuple[int, int]]], None]


@contextmanager
def bars(*, shown: bool) -> Iterator[Bars]:
    """
    Yield what moves one bar for each name to (done, total); nothing is drawn unless standard error is a terminal.

    Args:
        shown: False where there is nothing to look forward to.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda _state: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=PlainConsole(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def move(state: Mapping[str, tuple[int, int]]) -> None:
            for name, (done, total) in state.items():
                if name not in tasks:
                    tasks[name] = progress.add_task(name, total=None)
                progress.update(tasks[name], completed=done, total=total or None)

        yield move


def offsets_done(routes: Iterable[RouteProgress]) -> dict[str, tuple[int, int]]:
    """Return how many offsets of how many each route has behind it."""
    state = {}
    for route in routes:
        spans = [span for span in route.spans.values() if span.end is not None]
        total = sum(max(0, (span.end or 0) - span.start) for span in spans)
        # What ends in markers or gaps is at its end before its position is.
        left = sum(max(0, (s.end or 0) - s.next) for p, s in route.spans.items() if p not in route.ended)
        state[route.route] = (total - left, total)
    return state


def routes_summary(routes: Sequence[RouteProgress], seconds: float) -> dict[str, object]:
    """Return a bounded run's summary as JSON values; `complete` says that every partition was read to its end."""
    total: Counter[str] = Counter()
    for route in routes:
        total.update(route.outcomes)
    parts = [
        {
            "route": route.route,
            **counts(route.outcomes, seconds),
            "complete": route.is_complete,
            "positions": [
                {"topic": p.topic, "partition": p.partition, "start": s.start, "next": s.next, "end": s.end}
                for p, s in sorted(route.spans.items())
            ],
            "unread": [str(p) for p in sorted(route.unread)],
        }
        for route in routes
    ]
    complete = bool(routes) and all(route.is_complete for route in routes)
    return {**counts(total, seconds), "seconds": round(seconds, 3), "complete": complete, "routes": parts}


def counts(outcomes: Mapping[str, int], seconds: float) -> dict[str, object]:
    """Return records by what became of them, and their rate a second."""
    records = sum(outcomes.values())
    return {
        "records": records,
        "encrypted": outcomes.get("encrypted", 0),
        "passed": outcomes.get("passed", 0),
        "forwarded": outcomes.get("forwarded", 0),
        "tombstones": outcomes.get("tombstone", 0),
        "dead": outcomes.get("dead", 0),
        "rate": round(records / seconds, 1) if seconds else 0.0,
    }


def print_json(value: Mapping[str, object]) -> None:
    """Print one line of JSON."""
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()


def print_table(parts: Sequence[Mapping[str, object]], columns: Sequence[str], *, title: str) -> None:
    """Print one row for each part."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for part in parts:
        table.add_row(*(str(part[column]) for column in columns))
    # Off a terminal a width at which no word is cut.
    PlainConsole(width=None if sys.stdout.isatty() else 200, soft_wrap=True, markup=False).print(table)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._started
