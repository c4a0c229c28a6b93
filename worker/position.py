"""Where a record lies in its source."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """A record's coordinates in its source; a tuple, since every record makes one and every stage hashes it."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"
