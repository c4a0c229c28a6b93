"""Sealed dead letters: what could not be processed, whole, encrypted, and how many of it are too many."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgpack

from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.encryption.opaque import opaque_plan
from worker.errors import DeadLetterLimitExceeded, DecryptionError
from worker.model import FieldPlan, Header, Position, SourceRecord, ValueColumn
from worker.pipeline.job import Failure
from worker.pipeline.options import DeadLetterOptions
from worker.sink.base import DeadLetter
from worker.topic_names import dead_topic

_VERSION = 1
_WINDOW_S = 60.0


def plan_of(topic: str, keyset: str | None) -> FieldPlan:
    """Return the plan under which letters of a source topic are sealed: bound to their coordinates."""
    return opaque_plan(f"dead/{topic}", keyset, bind=("topic", "partition", "offset"))


class DeadLetters:
    """
    Seals failures and counts them.

    A letter is a `leased` envelope (docs/contracts.md, 4 and 5) over MessagePack::

        [1, key|nil, value|nil, [[name, bytes|nil]...], timestamp_type, timestamp_ms]

    Bound to it: topic in UTF-8, partition and offset in decimal.

    Args:
        options: keyset and limits.
        encryptor: under keys whose audit purpose is `dead`.
        route: named in a header, as the topic is shared by routes.
        instance: the worker's name.
        region: the worker's.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        options: DeadLetterOptions,
        encryptor: BatchEncryptor,
        *,
        route: str,
        instance: str,
        region: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._encryptor = encryptor
        self._route = route
        self._instance = instance
        self._region = region
        self._clock = clock
        self._recent: dict[Position, float] = {}

    def seal(self, failures: Sequence[Failure]) -> list[DeadLetter]:
        """
        Return one letter per failure, in order.

        Raises:
            DeadLetterLimitExceeded: more fail than the operator allows; nothing has been written.
            KeyServiceUnavailable: no key to seal with, so the batch waits.
        """
        self._count(failures)
        columns: dict[str, ValueColumn] = {}
        for i, failure in enumerate(failures):
            position = failure.record.position
            column = columns.get(position.topic)
            if column is None:
                plan = plan_of(position.topic, self._options.keyset)
                column = columns[position.topic] = ValueColumn(plan, binds=[])
            assert column.binds is not None
            column.values.append(_pack(failure.record))
            column.records.append(i)
            column.binds.append(bound(position))
        sealed = self._encryptor.encrypt(list(columns.values()))
        letters: dict[int, DeadLetter] = {}
        for column, envelopes in zip(columns.values(), sealed.envelopes, strict=True):
            for i, envelope in zip(column.records, envelopes, strict=True):
                letters[i] = self._letter(failures[i], envelope)
        return [letters[i] for i in range(len(failures))]

    def _count(self, failures: Sequence[Failure]) -> None:
        now = self._clock()
        # Positions, not attempts: a batch that is tried again does not count twice.
        self._recent = {p: at for p, at in self._recent.items() if now - at < _WINDOW_S}
        for failure in failures:
            # A subject that was erased is no fault that anybody could mend: its records stop nothing.
            if failure.error.code != "subject_erased":
                self._recent.setdefault(failure.record.position, now)
        by_partition = Counter((p.topic, p.partition) for p in self._recent)
        codes = ", ".join(sorted({f.error.code for f in failures}))
        advice = f"the latest failed with {codes}; mend the cause, or raise the limit under [dead_letters]"
        if len(self._recent) > self._options.max_per_minute:
            raise DeadLetterLimitExceeded(
                f"route {self._route}: {len(self._recent)} records failed within a minute, "
                f"max_per_minute = {self._options.max_per_minute}; {advice}"
            )
        for (topic, partition), count in by_partition.items():
            if count > self._options.max_per_partition:
                raise DeadLetterLimitExceeded(
                    f"route {self._route}: {count} records of {topic}[{partition}] failed within a minute, "
                    f"max_per_partition = {self._options.max_per_partition}; {advice}"
                )

    def _letter(self, failure: Failure, envelope: bytes) -> DeadLetter:
        position = failure.record.position
        headers: dict[str, str] = {
            "__connect.errors.topic": position.topic,
            "__connect.errors.partition": str(position.partition),
            "__connect.errors.offset": str(position.offset),
            "__connect.errors.connector.name": self._route,
            "__connect.errors.task.id": self._instance,
            "__connect.errors.stage": failure.stage,
            "__connect.errors.exception.class.name": type(failure.error).__name__,
            "worker.error.code": failure.error.code,
            "worker.error.path": failure.error.path,
            "worker.region": self._region,
        }
        key = f"{position.topic}/{position.partition}/{position.offset}".encode()
        return DeadLetter(
            dead_topic(position.topic), key, envelope, [(name, text.encode()) for name, text in headers.items()]
        )


def open_letters(
    letters: Sequence[tuple[Position, bytes]], decryptor: BatchDecryptor
) -> list[SourceRecord | DecryptionError]:
    """
    Open sealed letters, given the coordinates that their keys claim.

    Returns:
        each letter's record byte for byte as the source gave it, or why it does not open: altered, moved to another
        key, or another keyset's.

    Raises:
        KeyServiceUnavailable: no keys now.
    """
    columns: dict[str, ValueColumn] = {}
    for i, (position, envelope) in enumerate(letters):
        column = columns.setdefault(position.topic, ValueColumn(plan_of(position.topic, None), binds=[]))
        assert column.binds is not None
        column.values.append(envelope)
        column.records.append(i)
        column.binds.append(bound(position))
    opened = decryptor.decrypt(list(columns.values()))
    found: dict[int, SourceRecord | DecryptionError] = {}
    for column, values in zip(columns.values(), opened.values, strict=True):
        for i, value in zip(column.records, values, strict=True):
            error = opened.errors.get(i)
            if value is None:
                found[i] = error if isinstance(error, DecryptionError) else DecryptionError("the letter does not open")
            else:
                found[i] = _unpack(letters[i][0], value)
    return [found[i] for i in range(len(letters))]


def bound(position: Position) -> tuple[bytes, bytes, bytes]:
    """Return what a letter is bound to."""
    return position.topic.encode(), str(position.partition).encode(), str(position.offset).encode()


def position_of(key: bytes) -> Position:
    """Read a letter's key, `topic/partition/offset`; raises `DecryptionError` (`not_an_envelope`) for another form."""
    parts = key.decode("utf-8", "replace").rsplit("/", 2)
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        raise DecryptionError("a dead letter's key is topic/partition/offset", code="not_an_envelope")
    return Position(parts[0], int(parts[1]), int(parts[2]))


def _pack(record: SourceRecord) -> bytes:
    headers = [[name, value] for name, value in record.headers]
    content = [_VERSION, record.key, record.value, headers, record.timestamp_type, record.timestamp_ms]
    packed: bytes = msgpack.packb(content, use_bin_type=True)
    return packed


def _unpack(position: Position, data: bytes) -> SourceRecord | DecryptionError:
    try:
        version, key, value, headers, kind, at_ms = msgpack.unpackb(data, raw=False)
    except (ValueError, msgpack.UnpackException):
        return DecryptionError("the letter's content has another form", code="not_an_envelope")
    if version != _VERSION:
        return DecryptionError(f"the letter has version {version}, this program reads {_VERSION}")
    pairs: list[Header] = [(name, content) for name, content in headers]
    return SourceRecord(position, key, value, pairs, kind, at_ms)
