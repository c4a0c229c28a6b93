"""
What the runner asks of a sink, and the values that pass.

A sink writes one batch at a time: `write` any number of outputs, `write_dead` any number of sealed dead letters, then
one `commit` that makes the batch durable and, where the sink owns the positions, stores them with it; or `abort`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from worker.errors import PositionsChanged as PositionsChanged
from worker.errors import SinkRejected as SinkRejected
from worker.errors import SinkUnavailable
from worker.model import Header, Output
from worker.model import TopicPartition as TopicPartition
from worker.model.rows import RowType


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """
    What one batch did to one partition.

    `read` is the position before the batch, `next` the one after it (the last record's offset + 1), `metadata` what
    stands beside it where the group keeps it.
    """

    read: int
    next: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Positions:
    """
    Where partitions continue.

    Args:
        found: the stored positions.
        held: partitions that somebody else has hold of now, and whom they wait for.
    """

    found: Mapping[TopicPartition, int] = field(default_factory=dict)
    held: Mapping[TopicPartition, SinkUnavailable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SinkRoute:
    """
    The route that a sink serves, and who runs it.

    Args:
        name: the route's, in messages and metrics.
        region: the worker's.
        group: the consumer group whose records are written.
        instance: the worker's name.
        cluster_id: the region's Kafka cluster, a pin; empty where none is known.
        topics: what the route reads.
    """

    name: str
    region: str
    group: str = ""
    instance: str = ""
    cluster_id: str = ""
    topics: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A sealed record on its way to `<source topic>.dead`; nothing in it is in the clear."""

    topic: str
    key: bytes
    value: bytes = field(repr=False)
    headers: Sequence[Header] = ()


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """
    One batch and partition in the worker's own ledger (docs/contracts.md, 10).

    `audited` are receipts of the authority's audit, of whatever requests no entry before has.
    """

    batch: UUID
    request_ids: tuple[UUID, ...]
    keyset: UUID
    format: str
    keys: int
    values: int
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    schema_id: str
    audited: tuple[str, ...] = ()


class DeadLetterWriter(Protocol):
    """Where a sink that can't hold dead letters itself puts them; at-least-once."""

    def check(self) -> None:
        """Verify at start that every dead topic exists and takes the largest letter."""
        ...

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Hand over letters; need not wait for them."""
        ...

    def flush(self) -> None:
        """Return when every letter handed over is durable, or raise `SinkUnavailable`."""
        ...

    def abort(self) -> None:
        """Forget what has not been flushed."""
        ...

    def close(self) -> None:
        """Release connections, which the next letter takes again; safe to call twice."""
        ...


class Tables(Protocol):
    """A sink's tables, which must have a place for what a schema holds."""

    def create_table(self, row_type: RowType, *, topic: str, key_type: RowType | None = None) -> list[str]:
        """Create the table of a topic's rows (and keys), or add what it lacks; then do as `check_schema`."""
        ...

    def check_schema(self, row_type: RowType, *, topic: str, key_type: RowType | None = None) -> list[str]:
        """
        Return which rows (and keys) the topic's table may refuse one by one, and what of it can't be told.

        Raises:
            ConfigError: it can take none of them.
        """
        ...


class Sink(Protocol):
    """
    Where encrypted records go.

    Every method may raise `SinkUnavailable` (pause and try the whole batch again), `Fenced` when a newer owner is at
    work, `RegionViolation` when the other side is not the one it was. `write`, `flush` and `commit` may raise
    `SinkRejected` for records that the other side will never take: the runner aborts, dead-letters those and tries the
    rest again; `commit` raises `PositionsChanged` where the stored positions are not those the batch began at, or where
    its fate is unknown: the batch is dropped and the positions are read again. No other `RecordError` leaves a sink.
    """

    @property
    def owns_positions(self) -> bool:
        """Whether the truth about positions lies in the sink; if so, `positions` is asked at every assignment."""
        ...

    def check(self) -> None:
        """Verify at start that the sink can take the records: it exists, has the shape, region, limits and rights."""
        ...

    def positions(self, partitions: Mapping[TopicPartition, int | None]) -> Positions:
        """
        Return where to continue, and claim the partitions.

        A partition that somebody else still has hold of is `held`, and holds no other up.

        Args:
            partitions: where each starts if nothing is stored of it; None leaves one without a stored position out.

        Raises:
            FatalError: the stored position belongs to another cluster or to another topic of the same name.
        """
        ...

    def begin(self) -> None:
        """Start a batch."""
        ...

    def write(self, output: Output) -> None:
        """Hand over the batch's records; need not wait for them."""
        ...

    @property
    def keeps_letters(self) -> bool:
        """Whether dead letters are durable as soon as `write_dead` returns, even if the batch is aborted."""
        ...

    def write_dead(self, letters: Sequence[DeadLetter]) -> None:
        """Hand over the batch's dead letters."""
        ...

    def flush(self) -> None:
        """Return when every record of the batch has reached the other side, or raise."""
        ...

    def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetRange],
        ledger: Sequence[LedgerRow],
        group_metadata: object | None,
    ) -> None:
        """
        Make the flushed batch durable, with its positions where the sink owns them or takes them along.

        `group_metadata` is the consumer's, opaque, for a transactional Kafka sink.
        """
        ...

    def abort(self) -> None:
        """Forget the batch: nothing of it becomes visible where the sink has transactions."""
        ...

    def rest(self) -> None:
        """Let go, between two batches, of what costs while nothing is written; the next `begin` takes it again."""
        ...

    def close(self) -> None:
        """Release connections; safe to call twice."""
        ...
