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
SELECT %s, n.topic, n.partition, n.topic_id, %s, n.start, %s
FROM unnest(%s::text[], %s::int[], %s::text[], %s::bigint[]) AS n (topic, partition, topic_id, start)
ON CONFLICT (group_id, topic, partition) DO NOTHING
"""
_READ = """
SELECT o.topic, o.partition, o.topic_id, o.cluster_id, o.next_offset FROM worker.offsets AS o
JOIN unnest(%s::text[], %s::int[]) AS n (topic, partition) USING (topic, partition)
WHERE o.group_id = %s ORDER BY o.topic, o.partition FOR UPDATE OF o SKIP LOCKED
"""
_HELD = """
SELECT o.topic, o.partition, o.owner FROM worker.offsets AS o
JOIN unnest(%s::text[], %s::int[]) AS n (topic, partition) USING (topic, partition) WHERE o.group_id = %s
"""
_HOLDER = """
SELECT pid, state, extract(epoch FROM clock_timestamp() - state_change)::int FROM pg_stat_activity
WHERE datname = current_database() AND application_name = %s AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
"""
_OWN = """
UPDATE worker.offsets AS o SET owner = %s FROM unnest(%s::text[], %s::int[]) AS n (topic, partition)
WHERE o.group_id = %s AND o.topic = n.topic AND o.partition = n.partition
"""
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
        # In one order for all who claim: none waits for one who waits for it.
        fresh = sorted(tp for tp, start in partitions.items() if start is not None)
        if fresh:
            ids, starts = [self.topic_ids(tp.topic) for tp in fresh], [partitions[tp] for tp in fresh]
            connection.execute(_CLAIM, (self.group, self.cluster_id, self.owner, *_columns(fresh), ids, starts))
        found = self._stored(connection, partitions)
        held = self._held(connection, [tp for tp in partitions if tp not in found])
        for tp in fresh:
            if tp not in found and tp not in held:
                raise SinkUnavailable(f"worker.offsets: the row of {tp} was removed just now")
        if found:
            connection.execute(_OWN, (self.owner, *_columns(found), self.group))
        return Positions(found, held)

    def look(self, connection: Connection, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the stored positions and claim none, those left out that somebody holds now; raises as `claim`."""
        return self._stored(connection, partitions)

    def _stored(self, connection: Connection, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Read and lock the positions that there are, but for those that somebody else has locked."""
        found: dict[TopicPartition, int] = {}
        if not partitions:
            return found
        rows = connection.execute(_READ, (*_columns(partitions), self.group)).fetchall()
        for topic, partition, stored_id, cluster_id, offset in rows:
            tp = TopicPartition(topic, partition)
            if cluster_id != self.cluster_id:
                raise RegionViolation(
                    f"{tp}: the stored position belongs to cluster {cluster_id}, the source's is {self.cluster_id}"
                )
            topic_id = self.topic_ids(topic)
            if stored_id != topic_id:
                raise OffsetLost(
                    f"{tp}: the stored position belongs to topic id {stored_id}, the topic now has {topic_id}; "
                    "`worker positions move` goes to the new one, deliberately"
                )
            found[tp] = int(offset)
        return found

    def _held(
        self, connection: Connection, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, SinkUnavailable]:
        """Return those of the partitions whose rows are there, each with the word for whom it waits."""
        if not partitions:
            return {}
        rows = connection.execute(_HELD, (*_columns(partitions), self.group)).fetchall()
        holders = {owner: self._holder(connection, owner) for _, _, owner in rows}
        return {
            TopicPartition(topic, partition): SinkUnavailable(
                f"{TopicPartition(topic, partition)}: an open transaction holds its position, of {owner} by all that "
                f"is known ({holders[owner]}); the server ends it within that worker's idle_transaction_s, or "
                "timeout_s where it copies rows"
            )
            for topic, partition, owner in rows
        }

    def _holder(self, connection: Connection, owner: str) -> str:
        """Say who that is, as far as the server shows it to this role."""
        rows = connection.execute(_HOLDER, [application_name(self.route, owner)]).fetchall()
        return ", ".join(f"server process {pid}: {state or 'unknown'} for {age} s" for pid, state, age in rows) or (
            "not seen"
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


def _columns(partitions: Collection[TopicPartition]) -> tuple[list[str], list[int]]:
    """Return topics and numbers, as a statement takes them."""
    return [tp.topic for tp in partitions], [tp.partition for tp in partitions]
