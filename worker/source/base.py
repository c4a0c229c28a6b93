"""What the runner asks of a source."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from worker.model import Batch, TopicPartition


class AssignmentListener(Protocol):
    """Told, inside `poll` and `close` only, what the group gives and takes."""

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """These are ours from now on; they stay paused until `seek` and `resume`."""
        ...

    def revoked(self, partitions: Collection[TopicPartition], *, lost: bool) -> None:
        """These go to somebody else when this returns; `lost` means they may already be there."""
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

    def start_positions(self, partitions: Collection[TopicPartition], *, stored: bool) -> dict[TopicPartition, int]:
        """Return where each partition starts: at the group's stored offset if `stored`, else as the options say."""
        ...

    def end_positions(self, partitions: Collection[TopicPartition], until_ms: int | None) -> dict[TopicPartition, int]:
        """Return where each partition ends now, or its first offset at or after `until_ms`."""
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

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Store the group's offsets and wait; False where the group no longer counts this member as their owner."""
        ...

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the group's offsets without waiting, for lag tools; the truth lies elsewhere."""
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
