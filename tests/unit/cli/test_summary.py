"""The bar and the summary of a command that ends by itself."""

from __future__ import annotations

import io

import pytest

from worker.cli import summary
from worker.model import TopicPartition
from worker.pipeline.progress import RouteProgress, Span

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "drawn"), [(Terminal(), True), (io.StringIO(), False)])
def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, drawn: bool) -> None:
    """Standard error decides; a log file gets no bar."""
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")

    with summary.bars(shown=True) as move:
        move({"customers": (3, 4)})

    assert ("3/4" in stream.getvalue()) is drawn


def test_what_ends_in_markers_counts_as_done() -> None:
    """A partition at its end is done, whatever offsets its last markers took."""
    route = RouteProgress("r", {"encrypted": 5}, {P0: Span(0, 5, 8), P1: Span(0, 2, 10)}, frozenset({P0}))

    assert summary.offsets_done([route]) == {"r": (10, 18)}


def test_the_summary_names_what_was_left_unread() -> None:
    """A run that others shared says that it is not complete, and which partitions it did not read."""
    route = RouteProgress("r", {"encrypted": 5, "dead": 1}, {P0: Span(0, 6, 6)}, frozenset({P0}), frozenset({P0, P1}))

    told = summary.routes_summary([route], 2.0)

    assert (told["records"], told["dead"], told["rate"], told["complete"]) == (6, 1, 3.0, False)
    assert told["routes"][0]["unread"] == ["t[1]"]  # type: ignore[index]
