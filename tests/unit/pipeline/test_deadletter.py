"""Sealed dead letters and their limits."""

from __future__ import annotations

import pytest

from tests.unit.encryption.authority import InMemoryAuthority
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.errors import DeadLetterLimitExceeded, DecodeError, DecryptionError
from worker.model import Position, SourceRecord
from worker.pipeline.deadletter import DeadLetters, open_letters, position_of
from worker.pipeline.job import Failure
from worker.pipeline.options import DeadLetterOptions


def failure(offset: int, partition: int = 0) -> Failure:
    position = Position("in", partition, offset)
    record = SourceRecord(position, b"key", b"\x00plain", [("h", b"1"), ("h", None)], 1, 1234)
    return Failure(record, DecodeError("broken", code="trailing_bytes", path="a"), "decode")


def letters(
    keys: InMemoryAuthority, *, per_minute: int = 10, per_partition: int = 10
) -> tuple[DeadLetters, list[float]]:
    now = [0.0]
    options = DeadLetterOptions(max_per_minute=per_minute, max_per_partition=per_partition)
    made = DeadLetters(
        options, BatchEncryptor(keys), route="r", instance="w0", region="eu-central-1", clock=lambda: now[0]
    )
    return made, now


def test_opens_to_the_record_byte_for_byte() -> None:
    """Key, value, headers and timestamp come back as they were."""
    keys = InMemoryAuthority()
    sealed = letters(keys)[0].seal([failure(7)])[0]

    opened = open_letters([(position_of(sealed.key), sealed.value)], BatchDecryptor(keys))

    assert opened == [failure(7).record]


def test_holds_nothing_in_the_clear() -> None:
    """Neither the letter's value nor its headers hold content of the record, and its topic is the source's dead one."""
    sealed = letters(InMemoryAuthority())[0].seal([failure(7)])[0]

    assert sealed.topic == "in.dead"
    assert b"plain" not in sealed.value
    assert all(b"plain" not in (value or b"") for _, value in sealed.headers)
    assert ("worker.error.code", b"trailing_bytes") in sealed.headers


def test_a_moved_letter_does_not_open() -> None:
    """A letter under another letter's key is refused."""
    keys = InMemoryAuthority()
    sealed = letters(keys)[0].seal([failure(7)])[0]

    opened = open_letters([(Position("in", 0, 8), sealed.value)], BatchDecryptor(keys))

    assert isinstance(opened[0], DecryptionError)


def test_stops_at_the_limit_of_a_minute() -> None:
    """One record more than the limit within a minute stops the route."""
    made, _ = letters(InMemoryAuthority(), per_minute=2)
    made.seal([failure(1), failure(2)])

    with pytest.raises(DeadLetterLimitExceeded, match="max_per_minute = 2"):
        made.seal([failure(3)])


def test_stops_at_the_limit_of_a_partition() -> None:
    """The limit of one partition counts for each partition by itself."""
    made, _ = letters(InMemoryAuthority(), per_partition=1)
    made.seal([failure(1, 0), failure(1, 1)])

    with pytest.raises(DeadLetterLimitExceeded, match=r"in\[0\]"):
        made.seal([failure(2, 0)])


def test_forgets_after_a_minute() -> None:
    """What failed more than a minute ago counts no more."""
    made, now = letters(InMemoryAuthority(), per_minute=1)
    made.seal([failure(1)])
    now[0] = 60.0

    assert len(made.seal([failure(2)])) == 1


def test_counts_a_record_once_however_often_it_is_tried() -> None:
    """A batch that is tried again does not come closer to the limit."""
    made, _ = letters(InMemoryAuthority(), per_minute=1)

    for _ in range(3):
        assert len(made.seal([failure(1)])) == 1


@pytest.mark.parametrize("key", [b"", b"in/0", b"in/x/1", b"in/0/-1"])
def test_refuses_a_key_of_another_form(key: bytes) -> None:
    """A letter's key is topic, partition and offset."""
    with pytest.raises(DecryptionError):
        position_of(key)
