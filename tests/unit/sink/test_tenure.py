"""A transactional id that was let go."""

from __future__ import annotations

from worker.sink.kafka.tenure import Tenure


def test_where_nobody_can_be_asked_nothing_is_refused() -> None:
    """A property that kafka-python has no equal for leaves it to the next transaction to tell of another owner."""
    tenure = Tenure("x", {"bootstrap.servers": "127.0.0.1:1", "ssl.keystore.location": "k"})
    tenure.leave()

    tenure.resume("route r")
