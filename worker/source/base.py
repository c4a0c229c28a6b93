"""What the runner asks of a source."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from worker.model import Batch, TopicPartition


@dataclass(frozen=True, slots=True)
class Found:
    """
    Where one partition starts.

    Args:
        start: the group's stored offset where there is one, else as the options say.
        stored: the group's stored offset; None where it has none, or was not asked.
        end: where a bounded run ends; None in an endless one.
        metadata: what is to stand beside the offsets that the group stores of it.
    """

    start: int
    stored: int | None = None
    end: int | None = None
    metadata: str = field(default="", compare=False)


class Search(Protocol):
    """One partition's offsets on their way; it is forgotten with the assignment that asked for it."""

    def answer(self) -> Found | None:
        """
        Return what was found, None while the brokers have not answered; waits no longer than a broker's answer takes.

        Raises:
            SourceUnavailable: not now: there is no leader, or an open transaction may still move the offset. Ask anew.
            OffsetLost: the stored offset is another topic's of the same name.
        """
        ...


class AssignmentListener(Protocol):
    """Told, inside `poll` and `close` only, what the group gives and takes."""

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """These are ours from now on; they stay paused until `seek` and `resume`."""
        ...

    def revoked(self, partitions: Collection[TopicPartition], *, lost: bool) -> None:
        """These go to somebody else when this returns; `lost` means they may already be there."""
        ...

    def stored(self, offsets: Mapping[TopicPartition, int], *, taken: bool) -> None:
        """The group has answered a `store`: it has these offsets now, or did not take them."""
        ...


class Source(Protocol):
    """
    Where records come from: one consumer of one group.

    Every method may raise `SourceUnavailable` (try again), and `Fenced`, `OffsetLost` or `RegionViolation` (stop).
    """

    def subscribe(self, listener: AssignmentListener) -> None:
        """Join the group; assignments follow within `poll`."""
        ...

    def partitions(self) -> frozenset[TopicPartition]:
        """All partitions of the topics, as they were when the group was joined; safe from any thread."""
        ...

    def poll(self, max_records: int, timeout_s: float) -> Batch | None:
        """Return up to `max_records` of the partitions that are not paused, waiting `timeout_s` for the first one."""
        ...

    def wake(self) -> None:
        """End a `poll` that waits, else the next one, where the client can be woken; safe from any thread."""
        ...

    @property
    def patience_s(self) -> float:
        """How long a `poll` may wait where nothing comes: longer where it is woken by what the group has to say."""
        ...

    def find(
        self, partitions: Collection[TopicPartition], *, stored: bool, bounded: bool, until_ms: int | None
    ) -> dict[TopicPartition, Search]:
        """
        Begin to look where partitions start and end; waits no longer than a second.

        Args:
            partitions: which.
            stored: whether the group's stored offsets count; without them each starts as the options say.
            bounded: whether an end is asked for: the present one.
            until_ms: or the first offset at or after this time.
        """
        ...

    def at_end(self, partition: TopicPartition, end: int) -> bool:
        """Whether everything before `end` has been returned by `poll` (a bounded source only)."""
        ...

    def seek(self, positions: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        """Continue there; returns the partitions for which that took effect, the others are to be tried again."""
        ...

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Return nothing more of these from `poll`."""
        ...

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Return records of these again."""
        ...

    def store(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Begin to store the group's offsets; the listener is told the answer within `poll`."""
        ...

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Store the group's offsets and wait; False where the group no longer counts this member as their owner."""
        ...

    def holds(self) -> bool:
        """Whether the group still counts this member, by its generation, as the owner of what it was given; waits."""
        ...

    def group_metadata(self) -> object:
        """The group's opaque metadata for a transaction; from the polling thread only. Raises `SourceUnavailable`."""
        ...

    def verify(self) -> bool:
        """
        Compare cluster and topics with those at the start, without waiting: a finding may come a call later.

        Returns whether there was an answer since the last call.
        """
        ...

    def confirm(self) -> None:
        """Ask the broker that records come from for its cluster, and wait: called before each batch is delivered."""
        ...

    def lag(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return, where it is known, how many offsets lie between each position and the partition's end."""
        ...

    def close(self) -> None:
        """Leave the group, after telling the listener; safe to call twice."""
        ...
