"""What an operator sets for a Kafka sink, and what becomes of a record's headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from worker.model import Header, TopicPartition
from worker.options import Options
from worker.topic_names import TopicName

SCHEMA_ID_HEADERS = frozenset({"__value_schema_id", "__key_schema_id"})
"""They name the input's schemas; the output's id stands in front of its value."""

SOURCE_HEADER = "worker-source"
"""Where a record came from: topic/partition/offset."""


class KafkaSinkOptions(Options):
    """One Kafka sink."""

    kind: Literal["kafka"] = "kafka"
    """A Kafka sink."""
    topic: TopicName
    """Where the encrypted records go."""
    partitioning: Literal["same", "key"] = "same"
    """
    `same` keeps each record's partition number (counts must be equal), `key` is Java's murmur2 over the key, random
    for a null key.
    """
    headers: Literal["copy", "drop"] | tuple[str, ...] = "copy"
    """`copy`, `drop`, or the names to copy."""
    source_header: bool = False
    """Add `worker-source: topic/partition/offset`."""
    ledger: bool = True
    """Write one entry a batch and partition to `worker.ledger.<region>`, which is created when missing."""
    create: bool = False
    """Create a missing sink topic and missing dead topics at start, shaped after the source."""
    timeout_s: float = Field(default=60.0, gt=0)
    """How long one batch may wait for the brokers before it is given up and tried again."""
    transaction_timeout_s: float = Field(default=60.0, gt=0)
    """After this the broker aborts an open transaction by itself (exactly-once only)."""

    @property
    def dsn_env(self) -> str | None:
        """Topics have no connection string."""
        return None

    @property
    def all_topics(self) -> tuple[str, ...]:
        """Every topic once."""
        return (self.topic,)

    @property
    def all_tables(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def searchable(self) -> tuple[str, ...]:
        """Topics hold no search terms."""
        return ()

    @property
    def stored(self) -> tuple[str, ...]:
        """Topics store values as they are."""
        return ()

    @property
    def subject(self) -> str:
        """What subjects of output schemas are named after."""
        return self.topic

    @property
    def key_subject(self) -> str | None:
        """The subject of output key schemas."""
        return f"{self.topic}-key"

    @property
    def key_columns(self) -> dict[str, str]:
        """Topics have no columns."""
        return {}


NativeHeaders = tuple[list[str] | None, list[str], str | None]
"""Names to copy (None: all), names that never go out, and the name of the header that tells a record's place."""


@dataclass(frozen=True, slots=True)
class HeaderPolicy:
    """Which headers go out with a record; `names` to copy, None for all; never those that name the input's schemas."""

    names: frozenset[str] | None
    adds_source: bool

    def __call__(self, headers: Sequence[Header], place: TopicPartition, offset: int) -> list[Header]:
        """Return what goes out of a record's headers, with its place in the source where that is wanted."""
        left_out = SCHEMA_ID_HEADERS | {SOURCE_HEADER} if self.adds_source else SCHEMA_ID_HEADERS
        kept = [h for h in headers if h[0] not in left_out and (self.names is None or h[0] in self.names)]
        if self.adds_source:
            kept.append((SOURCE_HEADER, f"{place.topic}/{place.partition}/{offset}".encode()))
        return kept

    @property
    def native(self) -> NativeHeaders:
        """The same, as the extension takes it."""
        names = None if self.names is None else sorted(self.names)
        return names, sorted(SCHEMA_ID_HEADERS), SOURCE_HEADER if self.adds_source else None


def header_policy(options: KafkaSinkOptions) -> HeaderPolicy:
    """Return what the options say of headers."""
    words: dict[str, frozenset[str] | None] = {"copy": None, "drop": frozenset()}
    given = options.headers
    return HeaderPolicy(words[given] if isinstance(given, str) else frozenset(given), options.source_header)
