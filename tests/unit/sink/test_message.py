"""What a producer is given for one message."""

from __future__ import annotations

import pytest

from worker.sink.kafka.message import sent_ms


@pytest.mark.parametrize(
    ("kind", "at_ms", "expected"),
    [(1, 1_700_000_000_000, 1_700_000_000_000), (2, 5, 5), (1, 0, 1), (0, -1, -1), (0, 0, -1)],
)
def test_a_records_time_is_never_now(kind: int, at_ms: int, expected: int) -> None:
    """0 would be the time of sending, to librdkafka."""
    assert sent_ms(kind, at_ms) == expected
