"""What became of each record of a batch: exactly one fate each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from worker.errors import FateError, RecordError
from worker.model.batch import Indexes


class Fate(IntEnum):
    """
    What can become of a record; `UNKNOWN` until it is known.

    `ENCRYPTED` is written by a schema that declares something or with its key replaced, `PASSED` otherwise, `TOMBSTONE`
    has no value, `FORWARDED` goes to another region's topic, `FAILED` becomes a dead letter, `ERASED` is dropped: its
    subject was erased.
    """

    UNKNOWN = 0
    ENCRYPTED = 1
    PASSED = 2
    TOMBSTONE = 3
    FORWARDED = 4
    FAILED = 5
    ERASED = 6

    @property
    def outcome(self) -> str:
        """The word for it in `worker_records_total{outcome}`."""
        return "dead" if self is Fate.FAILED else self.name.lower()


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a record can't be written, and the stage that said so: `decode`, `encrypt` or `sink`."""

    error: RecordError
    stage: str


class Fates:
    """
    One fate for each of a batch's records; a second one is refused, and so is `close` while one is missing.

    Args:
        count: number of records.

    Raises:
        FateError: by every method, where a record would have two fates or none; nothing of the batch may be written.
    """

    def __init__(self, count: int) -> None:
        self._codes = bytearray(count)
        self._failures: dict[int, Failed] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: int) -> Fate:
        return Fate(self._codes[index])

    def settle(self, indexes: Indexes, fate: Fate) -> None:
        """Give records a fate other than failure."""
        if fate in (Fate.UNKNOWN, Fate.FAILED):
            raise FateError(f"{fate.name} can't be given to records as it is")
        codes = self._codes
        if isinstance(indexes, range):
            held = codes[indexes.start : indexes.stop]
            if self._closed or held.count(0) != len(indexes):
                raise FateError("a record has two fates")
            codes[indexes.start : indexes.stop] = bytes((fate,)) * len(indexes)
            return
        for i in indexes:
            self._give(i, fate)

    def fail(self, index: int, error: RecordError, stage: str) -> None:
        """Let a record fail, of which nothing else is known yet."""
        self._give(index, Fate.FAILED)
        self._failures[index] = Failed(error, stage)

    def failed(self, index: int) -> bool:
        """Whether a record has failed."""
        return index in self._failures

    @property
    def failures(self) -> Mapping[int, Failed]:
        """The failures, by place."""
        return self._failures

    def open(self, indexes: Indexes) -> Indexes:
        """Return those of some records whose fate is not known."""
        if isinstance(indexes, range) and not any(self._codes[indexes.start : indexes.stop]):
            return indexes
        return [i for i in indexes if not self._codes[i]]

    def close(self) -> None:
        """Refuse every later change."""
        missing = self._codes.count(0)
        if missing:
            raise FateError(f"{missing} of {len(self._codes)} records have no fate")
        self._closed = True

    @property
    def written(self) -> Indexes:
        """The records that go to the sink: all but the failures and those that are dropped."""
        if not self._failures and Fate.ERASED not in self._codes:
            return range(len(self._codes))
        return [i for i, code in enumerate(self._codes) if code not in (Fate.FAILED, Fate.ERASED)]

    def counts(self, start: int = 0, stop: int | None = None) -> dict[Fate, int]:
        """Return how many records of a stretch have each fate."""
        held = self._codes[start:stop]
        return {fate: n for fate in Fate if (n := held.count(fate))}

    def _give(self, index: int, fate: Fate) -> None:
        if self._closed or self._codes[index]:
            raise FateError("a record has two fates")
        self._codes[index] = fate
