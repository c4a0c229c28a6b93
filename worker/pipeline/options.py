"""What the pipeline is told: batches, dead letters, residency, bounded runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from worker.options import Options
from worker.topic_names import TopicName


class DeliveryOptions(Options):
    """`[delivery]`: the promise, and what bounds a batch."""

    mode: Literal["exactly-once", "at-least-once"] = "exactly-once"
    """`exactly-once` or `at-least-once`."""
    max_records: int = Field(20_000, ge=1, le=1_000_000)
    """Records after which a batch is closed."""
    max_bytes: int = Field(16_777_216, ge=1, le=2**30)
    """Bytes of keys, values and headers after which a batch is closed."""
    max_latency_ms: int = Field(200, ge=0, le=60_000)
    """Age of its first record after which a batch is closed."""
    max_record_values: int = Field(50_000, ge=1)
    """Declared values of one record, nulls and sized blocks counted; one more is `too_large`, and takes no key."""
    max_record_bytes: int = Field(16_777_216, ge=1)
    """Bytes that one record may have with its envelopes, estimated from above."""
    stop_s: float = Field(25, gt=0, le=600)
    """Bound of a graceful stop; what is not durable by then is abandoned."""
    rebalance_s: float = Field(30, gt=0, le=600)
    """How long a revocation waits for a batch whose flush has begun."""
    retry_s: float = Field(0.2, gt=0, le=60)
    """First pause after something was away; doubles up to `max_retry_s`."""
    max_retry_s: float = Field(10, gt=0, le=300)
    """Longest pause."""
    verify: float = Field(0.0, ge=0, le=1)
    """Share of the values that are decrypted again before their batch is written, 0 to 1."""
    verify_interval_s: float = Field(10, gt=0, le=3_600)
    """How often cluster and topic identities are compared with those at the start."""


class DeadLetterOptions(Options):
    """`[dead_letters]`: under which keyset failed records are sealed, and how many may fail."""

    keyset: str | None = None
    """Name or uuid; the client's own default if not given."""
    max_per_minute: int = Field(100, ge=0)
    """Of one route, within any 60 s; one more stops the worker."""
    max_per_partition: int = Field(100, ge=0)
    """Of one partition, within any 60 s; one more stops the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    Where a bounded run ends: at what was the end when a partition was assigned, or before a time (ms since 1970).

    With `hold` the member stays at the end until it is stopped: one of several, which may be given more partitions.
    """

    until_ms: int | None = None
    hold: bool = False


class ResidencyOptions(Options):
    """
    `residency` of a route: which region a record's data subject belongs to.

    A record whose value is missing, null or not in `values` is refused: unknown means another region's.
    """

    field: str | None = None
    """Name of the top-level field that says it; not an encrypted one."""
    header: str | None = None
    """Name of the header that says it, instead of a field."""
    values: dict[str, str] = Field(default_factory=dict)
    """What the field or header holds -> region; empty: it holds the region's name."""
    foreign: Literal["dead", "forward"] = "dead"
    """
    `dead` refuses another region's record to the dead letters, `forward` writes it, encrypted, to that region's
    topic.
    """
    topics: dict[str, TopicName] = Field(default_factory=dict)
    """Region -> topic, for `forward`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.field is None) == (self.header is None):
            raise ValueError("give either field or header")
        if (self.foreign == "forward") != bool(self.topics):
            raise ValueError('topics = { region = "topic" } and foreign = "forward" go together')
        return self
