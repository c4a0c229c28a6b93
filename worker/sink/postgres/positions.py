"""Where each partition continues, kept beside the rows: claimed at assignment, moved by compare-and-swap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from worker.errors import OffsetLost, PositionsChanged, RegionViolation, SinkUnavailable
from worker.model import TopicPartition
from worker.sink.base import OffsetRange, Positions
from worker.sink.postgres.connection import Connection, application_name

_CLAIM = """
INSERT INTO worker.offsets (group_id, topic, partition, topic_id, cluster_id, next_offset, owner)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (group_id, topic, partition) DO NOTHING
"""
_READ = """
SELECT topic_id, cluster_id, next_offset FROM worker.offsets
WHERE group_id = %s AND topic = %s AND partition = %s FOR UPDATE SKIP LOCKED
"""
_HELD = "SELECT owner FROM worker.offsets WHERE group_id = %s AND topic = %s AND partition = %s"
_HOLDER = """
SELECT pid, state, extract(epoch FROM clock_timestamp() - state_change)::int FROM pg_stat_activity
WHERE datname = current_database() AND application_name = %s AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
"""
_OWN = "UPDATE worker.offsets SET owner = %s WHERE group_id = %s AND topic = %s AND partition = %s"
_PASSED = """
SELECT count(*) FROM worker.offsets AS o
JOIN unnest(%s::text[], %s::int[], %s::bigint[]) AS r (topic, partition, first) USING (topic, partition)
WHERE o.group_id = %s AND o.next_offset > r.first
"""
_SWAP = """
UPDATE worker.offsets AS o SET next_offset = n.next, owner = %s, committed_at = now()
FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) AS n (topic, partition, read, next)
WHERE o.group_id = %s AND o.topic = n.topic AND o.partition = n.partition AND o.next_offset = n.read
"""


@dataclass(frozen=True, slots=True)
class StoredPositions:
    """
    One group's positions in `worker.offsets`.

    Args:
        group: the consumer group.
        cluster_id: the source's cluster.
        topic_ids: gives a topic's id.
        owner: the worker's instance, told in the row for people; the swap alone fences.
        route: names the route's sessions at the server.
    """

    group: str
    cluster_id: str
    topic_ids: Callable[[str], str]
    owner: str
    route: str = ""

    def claim(self, connection: Connection, partitions: Mapping[TopicPartition, int | None]) -> Positions:
        """
        Return where each partition continues, storing the given start where nothing is stored yet; the caller commits.

        A row that another transaction has locked is not waited for: its owner may be frozen, and the other partitions
        need not be.

        Raises:
            RegionViolation: a stored position belongs to another cluster.
            OffsetLost: it belongs to another topic of the same name.
        """
        found: dict[TopicPartition, int] = {}
        held: dict[TopicPartition, SinkUnavailable] = {}
        for tp in sorted(partitions):
            topic_id = self.topic_ids(tp.topic)
            place = (self.group, tp.topic, tp.partition)
            start = partitions[tp]
            if start is not None:
                connection.execute(_CLAIM, (*place, topic_id, self.cluster_id, start, self.owner))
            offset = self._stored(connection, tp)
            if offset is None:
                holder = connection.execute(_HELD, place).fetchone()
                if holder is not None:
                    held[tp] = self._holder(connection, tp, str(holder[0]))
                elif start is not None:
                    raise SinkUnavailable(f"worker.offsets: the row of {tp} was removed just now")
                continue
            connection.execute(_OWN, (self.owner, *place))
            found[tp] = offset
        return Positions(found, held)

    def look(self, connection: Connection, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the stored positions and claim none, those left out that somebody holds now; raises as `claim`."""
        stored = {tp: self._stored(connection, tp) for tp in partitions}
        return {tp: offset for tp, offset in stored.items() if offset is not None}

    def _stored(self, connection: Connection, tp: TopicPartition) -> int | None:
        """Read and lock one position; None where there is none, or somebody else has locked it."""
        row = connection.execute(_READ, (self.group, tp.topic, tp.partition)).fetchone()
        if row is None:
            return None
        if row[1] != self.cluster_id:
            raise RegionViolation(
                f"{tp}: the stored position belongs to cluster {row[1]}, the source's is {self.cluster_id}"
            )
        topic_id = self.topic_ids(tp.topic)
        if row[0] != topic_id:
            raise OffsetLost(
                f"{tp}: the stored position belongs to topic id {row[0]}, the topic now has {topic_id}; "
                "`worker positions move` goes to the new one, deliberately"
            )
        return int(row[2])

    def _holder(self, connection: Connection, tp: TopicPartition, owner: str) -> SinkUnavailable:
        """Say whom a partition waits for, as far as the server shows it to this role."""
        rows = connection.execute(_HOLDER, [application_name(self.route, owner)]).fetchall()
        seen = ", ".join(f"server process {pid}: {state or 'unknown'} for {age} s" for pid, state, age in rows)
        return SinkUnavailable(
            f"{tp}: an open transaction holds its position, of {owner} by all that is known ({seen or 'not seen'}); "
            "the server ends it within that worker's idle_transaction_s, or timeout_s where it copies rows"
        )

    def passed(self, connection: Connection, first: Mapping[TopicPartition, int]) -> bool:
        """
        Whether another owner has committed records of a batch; then their rows are in its own rows' way.

        Args:
            connection: of any transaction.
            first: the offset of each partition's first record in the batch.
        """
        topics, partitions = [topic for topic, _ in first], [partition for _, partition in first]
        row = connection.execute(_PASSED, (topics, partitions, list(first.values()), self.group)).fetchone()
        return row is not None and row[0] > 0

    def swap(self, connection: Connection, offsets: Mapping[TopicPartition, OffsetRange]) -> None:
        """
        Move the positions within the rows' transaction.

        Raises:
            PositionsChanged: a position is not where the batch began, another owner was here: roll back,
                drop the batch, claim again.
        """
        moved = sorted((tp.topic, tp.partition, o.read, o.next) for tp, o in offsets.items())
        if not moved:
            return
        topics, partitions, read, following = (list(column) for column in zip(*moved, strict=True))
        done = connection.execute(_SWAP, (self.owner, topics, partitions, read, following, self.group))
        if done.rowcount != len(moved):
            raise PositionsChanged(
                f"worker.offsets: {len(moved) - done.rowcount} of {len(moved)} positions of group {self.group} were "
                "moved by another owner; the batch is dropped and the positions are read again"
            )
