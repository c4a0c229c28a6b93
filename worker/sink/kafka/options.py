"""What an operator sets for a Kafka sink, and what becomes of a record's headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from worker.model import Header, TopicPartition
from worker.options import Options

SCHEMA_ID_HEADERS = frozenset({"__value_schema_id", "__key_schema_id"})
"""They name the input's schemas; the output's id stands in front of its value."""

HeaderPolicy = Callable[[Sequence[Header], TopicPartition, int], list[Header]]
"""A record's headers and its place in the source -> what goes out."""


class KafkaSinkOptions(Options):
    """One Kafka sink."""

    kind: Literal["kafka"] = "kafka"
    """A Kafka sink."""
    topic: str = Field(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")
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


def header_policy(options: KafkaSinkOptions) -> HeaderPolicy:
    """Return the function that chooses a record's outgoing headers; it never returns a schema-id header."""
    if options.headers == "drop":
        chosen: HeaderPolicy = _none
    elif options.headers == "copy":
        chosen = _all
    else:
        wanted = frozenset(options.headers) - SCHEMA_ID_HEADERS

        def chosen(headers: Sequence[Header], place: TopicPartition, offset: int) -> list[Header]:
            return [header for header in headers if header[0] in wanted]

    if not options.source_header:
        return chosen

    def with_source(headers: Sequence[Header], place: TopicPartition, offset: int) -> list[Header]:
        kept: Sequence[Header] = [h for h in chosen(headers, place, offset) if h[0] != "worker-source"]
        return [*kept, ("worker-source", f"{place.topic}/{place.partition}/{offset}".encode())]

    return with_source


def _none(headers: Sequence[Header], place: TopicPartition, offset: int) -> list[Header]:
    return []


def _all(headers: Sequence[Header], place: TopicPartition, offset: int) -> list[Header]:
    return [header for header in headers if header[0] not in SCHEMA_ID_HEADERS]
