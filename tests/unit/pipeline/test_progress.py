"""How far several members of one run came together."""

from __future__ import annotations

from worker.model import TopicPartition
from worker.pipeline.progress import RouteProgress, Span, merged

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
BOTH = frozenset({P0, P1})


def test_a_partition_that_moved_is_counted_from_its_first_start_to_its_last_position() -> None:
    """Outcomes add up; the run is complete when each partition was read to its end by somebody."""
    first = RouteProgress("r", {"encrypted": 3}, {P0: Span(0, 4, 9), P1: Span(2, 2, 5)}, frozenset({P1}), BOTH)
    second = RouteProgress("r", {"encrypted": 5, "dead": 1}, {P0: Span(4, 9, 9)}, frozenset({P0}), BOTH)

    (whole,) = merged([first, second])

    assert whole.outcomes == {"encrypted": 8, "dead": 1}
    assert whole.spans == {P0: Span(0, 9, 9), P1: Span(2, 2, 5)}
    assert (first.is_complete, second.is_complete, whole.is_complete) == (False, False, True)


def test_a_run_that_has_not_joined_is_not_complete() -> None:
    """Without knowing the partitions nobody can say that all were read."""
    assert not RouteProgress("r").is_complete
