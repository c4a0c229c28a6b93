"""The PostgreSQL sink."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from worker.errors import ConfigError, PositionsChanged, SinkRejected, SinkUnavailable
from worker.finding import Finding, match
from worker.metrics import Metrics
from worker.model import Output, Position, Run, SinkRecord, TopicPartition, first_offsets
from worker.model.rows import Row
from worker.native.batch import NativeOutput
from worker.sink.base import DeadLetter, DeadLetterWriter, LedgerRow, OffsetRange, Positions, SinkRoute, Tables
from worker.sink.postgres.connection import Connection, Database
from worker.sink.postgres.ledger import LedgerTable
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.positions import StoredPositions
from worker.sink.postgres.refused import BLOCK, refused_rows
from worker.sink.postgres.residency import DeclaredRegion
from worker.sink.postgres.review import refuse_own_rights
from worker.sink.postgres.schema import complete_schema, ensure_schema
from worker.sink.postgres.table import read_table
from worker.sink.postgres.tables import TargetTables

_SPEAK = "SET CONSTRAINTS ALL IMMEDIATE"
_OWN_TABLES = ("worker.residency", "worker.offsets", "worker.ledger")


class PostgresSink:
    """
    One transaction a batch: rows, positions, ledger. Dead letters are durable before it commits.

    A batch's records are kept until `flush`, which copies them; memory is bounded by the batch.

    Args:
        options: the route's sink.
        route: whom it serves. The database must declare its region, which is read at every connection and in every
            batch's transaction, and owns its group's positions.
        dsn: libpq connection string; secret.
        topic_ids: gives a source topic's id.
        metrics: where the region's pin is told.
        dead_letters: where `write_dead` goes; None refuses dead letters.
    """

    def __init__(
        self,
        options: PostgresSinkOptions,
        route: SinkRoute,
        *,
        dsn: str,
        topic_ids: Callable[[str], str],
        metrics: Metrics,
        dead_letters: DeadLetterWriter | None = None,
    ) -> None:
        self._options = options
        self._name = f"route {route.name}"
        self._residency = DeclaredRegion(route.region, options.residency_key)
        self._database = Database(dsn, options, route, residency=self._residency, metrics=metrics)
        self._positions = StoredPositions(route.group, route.cluster_id, topic_ids, route.instance, route.name)
        self._ledger = LedgerTable(route.group)
        self._dead_letters = dead_letters
        self._targets = TargetTables(options, self._database, route.name)
        self._outputs: list[Output] = []

    @property
    def owns_positions(self) -> bool:
        """The truth about positions lies in `worker.offsets`."""
        return True

    @property
    def tables(self) -> Tables:
        """The target tables."""
        return self._targets

    def findings(self) -> list[Finding]:
        """Return what `check` proved of the region: it counts only with a signature for its very server."""
        region = self._residency.region
        return [match("database", region, region, "", authenticated=self._residency.is_signed)]

    def check(self) -> None:
        """
        Verify region, the worker's own tables, target tables, keys, rights and dead topics.

        Raises:
            ConfigError: something is missing or of another shape; the message says what to do.
            RegionViolation: the database declares another region.
        """
        with self._database.looking("check") as connection:
            missing = [t for t in _OWN_TABLES if read_table(connection, t) is None]
            if self._options.create:
                complete_schema(connection, is_there=not missing)
            elif missing:
                raise ConfigError(f"{self._name}: {', '.join(missing)} missing; run worker check --create")
            refuse_own_rights(connection, ledger=self._options.ledger)
            self._targets.check(connection)
        if self._dead_letters is not None:
            self._dead_letters.check()

    def ensure_schema(self) -> None:
        """Create the worker's own tables where they are missing; the region is declared by somebody else."""
        with self._database.looking("creating schema worker") as connection:
            ensure_schema(connection)

    def positions(self, partitions: Mapping[TopicPartition, int | None]) -> Positions:
        """Return where to continue, and claim the partitions; raises as `Positions.claim`."""
        self._targets.forget()
        try:
            with self._database.guarded("claiming partitions") as connection:
                found = self._positions.claim(connection, partitions)
                connection.commit()
        except BaseException:
            self._database.discard()
            raise
        return found

    def stored(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the stored positions and claim none; raises as `Positions.claim`."""
        with self._database.guarded("reading positions") as connection:
            try:
                return self._positions.look(connection, partitions)
            finally:
                connection.rollback()

    def begin(self) -> None:
        """Start a batch."""
        self._outputs = []

    def write(self, output: Output) -> None:
        """Keep an output for `flush`."""
        self._outputs.append(output)

    @property
    def keeps_letters(self) -> bool:
        """Letters are in Kafka before their batch's rows are in the table."""
        return True

    def write_dead(self, letters: Sequence[DeadLetter]) -> None:
        """Hand dead letters to their own producer, and wait until they are durable."""
        if self._dead_letters is None:
            raise ConfigError(f"{self._name}: there is nowhere to put dead letters")
        self._dead_letters.write(letters)
        self._dead_letters.flush()

    def flush(self) -> None:
        """
        Copy the rows into the open transaction.

        Raises:
            SinkRejected: with every refused record, without where only several together are refused.
            PositionsChanged: what stands in the rows' way are the same records, written by another owner.
            ConfigError: a table has another shape than the records.
            SinkUnavailable: it was altered since it was described; the batch is to be written anew.
        """
        try:
            with self._database.guarded("writing rows") as connection:
                if not self._write_ready(connection):
                    self._targets.write(connection, self._by_table())
                # Deferred constraints speak here, where a refused record can still be found, and not at the commit.
                connection.execute(_SPEAK)
                self._targets.verify_unaltered(connection, self._names())
        except ConfigError:
            # What a table does not take by its old description it may take by the one that it has now.
            self._verify_unaltered()
            raise
        except SinkRejected as exc:
            if self._has_been_passed():
                raise PositionsChanged(f"{self._name}: another owner has written this batch's records") from None
            refused = self._refused(self._by_table())
            raise SinkRejected(str(exc), positions=refused or exc.positions) from None

    def _write_ready(self, connection: Connection) -> bool:
        """Write what lies in native memory as it is; False where only the twin can, and nothing was written."""
        if len(self._outputs) != 1 or not isinstance(output := self._outputs[0], NativeOutput):
            return False
        names = self._names()
        return len(names) == 1 and self._targets.write_ready(connection, names.pop(), output)

    def _names(self) -> set[str]:
        """The tables of the batch."""
        return {self._targets.name(run.topic) for output in self._outputs for run in output.runs}

    def _by_table(self) -> dict[str, list[SinkRecord]]:
        by_table: dict[str, list[SinkRecord]] = {}
        for output in self._outputs:
            rows = output.rows
            for run in output.runs:
                records = by_table.setdefault(self._targets.name(run.topic), [])
                records += (_sink_record(output, run, i, rows[i]) for i in range(run.start, run.stop))
        return by_table

    def _write_rows(self, name: str, connection: Connection, records: Sequence[SinkRecord]) -> None:
        self._targets.write(connection, {name: records})
        connection.execute(_SPEAK)

    def _refused(self, by_table: Mapping[str, Sequence[SinkRecord]]) -> list[Position]:
        """Find every refused row at once: each round trip through the pipeline would encrypt the batch anew."""
        found: list[Position] = []
        late: list[tuple[str, list[SinkRecord]]] = []
        try:
            with self._database.guarded("reading foreign keys") as connection:
                names = self._targets.ordered(connection, by_table)
            for name in names:
                refused = set(self._refused_of(name, by_table[name]))
                records = [r for r in by_table[name] if r.position in refused]
                late.insert(0, (name, [r for r in records if r.value is None]))
                found += [r.position for r in records if r.value is not None]
            # What referred to these rows may be gone by now, or point to others.
            for name, gone in late:
                found += self._refused_of(name, gone)
        finally:
            self._database.rollback()
        return found

    def _refused_of(self, name: str, records: Sequence[SinkRecord]) -> list[Position]:
        found: list[Position] = []
        for start in range(0, len(records), BLOCK):
            with self._database.guarded("finding refused rows") as connection:
                found += refused_rows(connection, partial(self._write_rows, name), records[start : start + BLOCK])
        return found

    def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetRange],
        ledger: Sequence[LedgerRow],
        group_metadata: object | None,
    ) -> None:
        """
        Move the positions, write the ledger and commit.

        Raises:
            PositionsChanged: another owner was here, or the commit's fate is unknown: read the positions again.
            RegionViolation: the database has begun to declare another region.
        """
        with self._database.guarded("moving positions") as connection:
            self._database.verify_again(connection)
            self._positions.swap(connection, offsets)
            if self._options.ledger:
                self._ledger.write(connection, ledger)
        try:
            with self._database.guarded("committing") as connection:
                connection.commit()
        except SinkUnavailable as exc:
            raise PositionsChanged(f"{exc}; whether it took place is unknown") from None
        self._outputs = []

    def abort(self) -> None:
        """Roll back and forget the batch."""
        self._outputs = []
        self._targets.forget()
        if self._dead_letters is not None:
            self._dead_letters.abort()
        self._database.rollback()

    def rest(self) -> None:
        """Let the dead letters' producer go; a session at rest costs nothing, and has hold of its partitions."""
        if self._dead_letters is not None:
            self._dead_letters.close()

    def close(self) -> None:
        """Release the connections."""
        self._database.discard()
        if self._dead_letters is not None:
            self._dead_letters.close()

    def _verify_unaltered(self) -> None:
        self._database.rollback()
        with self._database.guarded("reading tables") as connection:
            self._targets.verify_unaltered(connection, self._names())
            connection.rollback()

    def _has_been_passed(self) -> bool:
        self._database.rollback()
        with self._database.guarded("reading positions") as connection:
            self._targets.verify_unaltered(connection, self._names())
            # A column that was added to the table went with the transaction.
            self._targets.forget()
            found = any(self._positions.passed(connection, first_offsets(output)) for output in self._outputs)
            connection.rollback()
        return found


def _sink_record(output: Output, run: Run, index: int, row: Row | None) -> SinkRecord:
    kind, at_ms = output.stamps[index]
    return SinkRecord(
        Position(run.topic, run.partition, output.offsets[index]),
        output.keys[index],
        output.values[index],
        (),
        kind,
        at_ms,
        row,
        output.key_rows.get(index),
    )
