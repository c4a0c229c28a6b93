"""What a producer is given for one message."""

from __future__ import annotations

from typing import Any

Message = tuple[str, bytes | None, bytes | None, int, int, Any]
"""Topic, value, key, partition (-1: by key), timestamp in ms (0: now, -1: none), headers as a list or None."""


def sent_ms(kind: int, at_ms: int) -> int:
    """
    Return the timestamp with which a record that was read goes out: its own, or -1 where it has none.

    The first millisecond of 1970 goes out as the second: librdkafka takes 0 for the time of sending.
    """
    return -1 if not kind else at_ms or 1
