"""Which letters `worker dead` opens."""

from __future__ import annotations

import pytest

from worker.cli.dead import refuse_moved
from worker.errors import DecryptionError
from worker.model import Position, SourceRecord


def letter(key: str, topic: str) -> SourceRecord:
    return SourceRecord(Position(topic, 0, 3), key.encode(), b"", ())


def test_a_letter_of_another_topic_is_not_put_through_this_one_s_route() -> None:
    """Who may write to a dead topic can copy another route's letter into it, and that opens."""
    with pytest.raises(
        DecryptionError, match=r"letter of staff\[0\]@5: it lies in customers\.dead, into which it was moved"
    ):
        refuse_moved([letter("customers/0/5", "customers.dead"), letter("staff/0/5", "customers.dead")])


def test_letters_of_topics_and_files_lie_beside_what_they_are_of() -> None:
    """A letter in its dead topic, and one of a file."""
    refuse_moved([letter("customers/0/5", "customers.dead"), letter("day.avro/0/5", "day.avro")])
