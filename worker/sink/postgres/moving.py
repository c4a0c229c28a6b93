"""A table's positions, looked at and moved from outside of its worker, while that does not run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping

import psycopg
from psycopg import sql

from worker.errors import ConfigError, RegionViolation, SinkUnavailable
from worker.model import TopicPartition
from worker.sink.postgres.connection import Connection, Database
from worker.sink.postgres.table import identifier

_READ = """
SELECT topic_id, cluster_id, next_offset FROM worker.offsets WHERE group_id = %s AND topic = %s AND partition = %s
"""
_MOVE = """
INSERT INTO worker.offsets (group_id, topic, partition, topic_id, cluster_id, next_offset, owner)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (group_id, topic, partition) DO UPDATE SET topic_id = excluded.topic_id,
  next_offset = excluded.next_offset, owner = excluded.owner, committed_at = now()
"""
_BEHIND = "SELECT _offset FROM {} WHERE _topic = %s AND _partition = %s AND _offset >= %s LIMIT 1"
_DELETE = "DELETE FROM {} WHERE _topic = %s AND _partition = %s AND _offset >= %s"


class TablePositions:
    """
    Positions in `worker.offsets` of one group.

    A worker that runs all the same loses nothing by a move: it commits by comparing with where it began.

    Args:
        database: the route's.
        group: the consumer group.
        cluster_id: the source's cluster.
        topic_ids: gives a topic's id.
        owner: who moves.
        tables: a topic's table where each row bears its record's coordinates (`append`), else None.
    """

    def __init__(
        self,
        database: Database,
        *,
        group: str,
        cluster_id: str,
        topic_ids: Callable[[str], str],
        owner: str,
        tables: Callable[[str], str | None],
    ) -> None:
        self._database, self._group, self._cluster_id = database, group, cluster_id
        self._topic_ids, self._owner, self._tables = topic_ids, owner, tables

    def stored(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
        """
        Return the stored positions, None where there is none, or only one of an earlier topic of the same name.

        Raises:
            RegionViolation: one belongs to another cluster.
        """
        with self._database.guarded("reading positions") as connection:
            found = {p: self._stored(connection, p) for p in partitions}
            connection.commit()
        return found

    @contextlib.contextmanager
    def moving(self, offsets: Mapping[TopicPartition, int], *, delete_rows: bool) -> Iterator[int]:
        """
        Move the positions in one transaction, which is committed where the block ends well.

        Yields:
            how many rows of records that will be read again are deleted with it.

        Raises:
            ConfigError: a table holds such rows, and they are not to be deleted.
            SinkUnavailable: somebody holds a position now.
        """
        try:
            with self._database.guarded("moving positions") as connection:
                deleted = 0
                for partition, offset in sorted(offsets.items()):
                    place = (self._group, partition.topic, partition.partition)
                    self._stored(connection, partition, lock=True)
                    deleted += self._clear(connection, partition, offset, delete_rows=delete_rows)
                    values = (self._topic_ids(partition.topic), self._cluster_id, offset, self._owner)
                    connection.execute(_MOVE, (*place, *values))
            yield deleted
            with self._database.guarded("moving positions") as connection:
                connection.commit()
        except BaseException:
            self._database.discard()
            raise

    def close(self) -> None:
        """Release the connection."""
        self._database.discard()

    def _stored(self, connection: Connection, partition: TopicPartition, *, lock: bool = False) -> int | None:
        place = (self._group, partition.topic, partition.partition)
        try:
            row = connection.execute(_READ + (" FOR UPDATE NOWAIT" if lock else ""), place).fetchone()
        except psycopg.errors.LockNotAvailable:
            raise SinkUnavailable(
                f"{partition}: an open transaction holds its position; its worker is frozen or not stopped yet"
            ) from None
        if row is None:
            return None
        if row[1] != self._cluster_id:
            raise RegionViolation(
                f"{partition}: the stored position belongs to cluster {row[1]}, the source's is {self._cluster_id}"
            )
        return int(row[2]) if row[0] == self._topic_ids(partition.topic) else None

    def _clear(self, connection: Connection, partition: TopicPartition, offset: int, *, delete_rows: bool) -> int:
        name = self._tables(partition.topic)
        if name is None:
            return 0
        table, place = identifier(name), (partition.topic, partition.partition, offset)
        if delete_rows:
            return connection.execute(sql.SQL(_DELETE).format(table), place).rowcount
        if connection.execute(sql.SQL(_BEHIND).format(table), place).fetchone() is not None:
            raise ConfigError(
                f"table {name} has rows of {partition} from offset {offset} on, and would refuse them a second time; "
                "--delete-rows deletes them with the move"
            )
        return 0
