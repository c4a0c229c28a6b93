"""The sink's target tables: made, compared with what is to come, and written to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from worker.column_names import column_name
from worker.errors import ConfigError, SinkRejected, SinkUnavailable
from worker.model import Position, SinkRecord
from worker.model.columns import position_at
from worker.model.rows import Row, RowType
from worker.native.batch import NativeOutput
from worker.sink.postgres import review
from worker.sink.postgres.connection import Connection, Database
from worker.sink.postgres.copy import RowWriter, Target, append, by_type
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.order import referred_first, write_in_order
from worker.sink.postgres.ready import form, key_form, ready_rows
from worker.sink.postgres.schema import COORDINATE_TYPES, ensure_table, fields_of, key_targets, row_targets
from worker.sink.postgres.table import Table, read_table, read_version
from worker.sink.postgres.upsert import Keyed, Upsert, encode_key, is_exact, merge, raw_key

if TYPE_CHECKING:
    from worker import _native

_log = structlog.get_logger(__name__)


class TargetTables:
    """
    The tables of one route, remembered as the server described them until `forget`.

    Args:
        options: the route's sink.
        database: for what is asked outside of a batch.
        route: names the route in messages.
    """

    def __init__(self, options: PostgresSinkOptions, database: Database, route: str) -> None:
        self._options, self._database, self._route = options, database, route
        self._known: dict[str, Table] = {}
        self._unevolved: dict[str, str] = {}
        self._order: dict[frozenset[str], list[str]] = {}
        self._writers: dict[tuple[str, RowType | None], RowWriter] = {}
        self._keys: dict[tuple[str, RowType | None], list[Target]] = {}
        self._others: dict[RowType, list[int]] = {}
        self._ready: dict[tuple[str, RowType], _native.Rows | None] = {}

    def forget(self) -> None:
        """Ask the server again."""
        self._known.clear()
        self._unevolved.clear()
        self._order.clear()
        self._writers.clear()
        self._keys.clear()
        self._others.clear()
        self._ready.clear()

    def check(self, connection: Connection) -> None:
        """Raise `ConfigError` where a table is missing, or can take no row of the route, whatever the schema."""
        for name in self._options.all_tables:
            if self._options.create and read_table(connection, name) is None:
                continue  # `create_table` makes it as soon as a schema is known.
            review.refuse_table(connection, self._table(connection, name), self._options)

    def create_table(self, row_type: RowType, *, topic: str, key_type: RowType | None = None) -> list[str]:
        """
        Create the table of a topic's rows (and keys), or add the columns it lacks, and check what there is then.

        Returns:
            as `check_schema`.
        """
        name = self.name(topic)
        with self._database.looking(f"creating table {name}") as connection:
            table = ensure_table(connection, name, row_type, self._options, key_type)
            review.refuse_table(connection, table, self._options)
            found = review.remarks(connection, table, row_type, self._options, key_type)
        self.forget()
        return found

    def check_schema(self, row_type: RowType, *, topic: str, key_type: RowType | None = None) -> list[str]:
        """
        Compare a topic's table with the rows (and keys) that are to come.

        Returns:
            which of them the table may refuse, one by one, and what of it can't be told.

        Raises:
            ConfigError: it can take none of them.
        """
        name = self.name(topic)
        with self._database.looking(f"checking table {name}") as connection:
            table = self._table(connection, name)
            return review.remarks(connection, table, row_type, self._options, key_type)

    def write(self, connection: Connection, by_table: Mapping[str, Sequence[SinkRecord]]) -> None:
        """
        Write each table's records, within the batch's transaction.

        Raises:
            SinkRejected: with the refused record where the server names it, without where it does not.
            ConfigError: the table has no column for a field, or one that takes no value of it.
        """
        names = self.ordered(connection, by_table)
        if self._options.mode == "upsert":
            write_in_order(connection, [self._upsert(connection, name, by_table[name]) for name in names])
            return
        for name in names:
            for (row_type, _), group in by_type(by_table[name]).items():
                append(connection, self._writer(connection, name, row_type), group)

    def ordered(self, connection: Connection, names: Collection[str]) -> Sequence[str]:
        """Return tables in the order in which to write them: what others refer to comes first."""
        if len(names) < 2:
            return list(names)
        asked = frozenset(names)
        if asked not in self._order:
            tables = [self._table(connection, name) for name in names]
            self._order[asked] = [table.name for table in referred_first(connection, tables)]
        return self._order[asked]

    def verify_unaltered(self, connection: Connection, names: Iterable[str]) -> None:
        """
        Refuse what was written by an older description of a table: binary rows say nothing of their columns' types.

        Raises:
            SinkUnavailable: a table was altered; the batch is to be written anew, by what the server says then.
        """
        for name in names:
            table = self._known.get(name)
            if table is None:
                continue
            if read_version(connection, table) not in (table.version, self._unevolved.get(name)):
                raise SinkUnavailable(f"route {self._route}: table {name} was altered; the batch is written anew")

    def write_ready(self, connection: Connection, name: str, output: NativeOutput) -> bool:
        """
        Write an output from where it lies in native memory.

        Returns:
            whether the table takes it so; if not, nothing was written.

        Raises:
            SinkRejected, ConfigError: as `write`.
        """
        row_type = output.row_type
        if row_type is None:
            return False
        writer = self._writer(connection, name, row_type)
        if writer.casts:
            return False
        keys = self._key_targets(connection, name, None) if self._options.mode == "upsert" else []
        if (name, row_type) not in self._ready:
            self._ready[name, row_type] = self._readying(output, row_type, writer, keys)
        rows = self._ready[name, row_type]
        made = output.copied(rows) if rows is not None else None
        if made is None:
            return False
        data, places = made

        def position_of(line: int) -> Position:
            return position_at(output, places[line])

        if not keys:
            writer.copy_ready(connection, writer.table.identifier, data, position_of)
        else:
            both = RowWriter(writer.table, [*(raw_key(target) for target in keys), *writer.targets])
            merge(connection, both, len(keys), lambda into: both.copy_ready(connection, into, data, position_of))
        return True

    def _readying(
        self, output: NativeOutput, row_type: RowType, writer: RowWriter, keys: Sequence[Target]
    ) -> _native.Rows | None:
        columns = writer.table.columns
        if self._options.mode == "append":
            own, last = writer.targets[: -len(COORDINATE_TYPES)], writer.targets[-len(COORDINATE_TYPES) :]
            forms = [form(kind, target.fit) for kind, target in zip(COORDINATE_TYPES, last, strict=True)]
            return ready_rows(output, row_type, own, forms)
        if len(keys) != 1 or not is_exact(columns[keys[0].name]):
            return None
        return ready_rows(output, row_type, writer.targets, [key_form(columns[keys[0].name].type, keys[0].fit)])

    def _upsert(self, connection: Connection, name: str, records: Sequence[SinkRecord]) -> Upsert:
        keyed: list[Keyed] = []
        targets: list[Target] = []
        for record in records:
            key_type = None if record.key_row is None else record.key_row.type
            writer = None
            if record.value is not None and record.row is not None:
                writer = self._writer(connection, name, record.row.type)
            targets = self._key_targets(connection, name, key_type)
            table = self._known[name]
            key = encode_key(table, targets, self._key_values(record, table, targets), record.position)
            keyed.append(Keyed(key, record, writer, self._rest(record.row)))
        return Upsert(connection, self._table(connection, name), targets, keyed)

    def _key_values(self, record: SinkRecord, table: Table, targets: Sequence[Target]) -> Sequence[object]:
        """
        Return the values of the key columns: the decoded key's, else a plain text key's.

        Never the row's own: a tombstone has none, and would not find what another key had written.
        """
        if record.key_row is not None:
            values = dict(zip((kind.name for kind in record.key_row.type.columns), record.key_row.values, strict=True))
            fields = self._options.key_columns
            return list(values.values()) if "" in values else [values[fields[target.name]] for target in targets]
        if len(targets) != 1 or record.key is None or record.key[:1] == b"\0":
            raise ConfigError(
                f"table {table.name}: a record's key does not decode to ({', '.join(self._options.key)}), so its row "
                "can't be found; use keys with these fields, or mode = append"
            )
        if table.columns[targets[0].name].type == "bytea":
            return [record.key]
        try:
            return [record.key.decode("utf-8")]
        except UnicodeDecodeError:
            raise SinkRejected(f"table {table.name}: a record's key is no text", positions=[record.position]) from None

    def _rest(self, row: Row | None) -> tuple[object, ...]:
        """Return a row's values but for those of the key columns, which hold the key."""
        if row is None:
            return ()
        if row.type not in self._others:
            names = [column_name(kind.name) for kind in row.type.columns]
            self._others[row.type] = [i for i, name in enumerate(names) if name not in self._options.key]
        return tuple([row.values[i] for i in self._others[row.type]])

    def name(self, topic: str) -> str:
        """Return the table of a source topic; raises `ConfigError` where there is none."""
        name = self._options.table_of(topic)
        if name is None:
            raise ConfigError(f"route {self._route}: no table for topic {topic}; add it to the sink's tables")
        return name

    def _table(self, connection: Connection, name: str) -> Table:
        table = self._known.get(name)
        if table is None:
            table = read_table(connection, name)
            if table is None:
                raise ConfigError(f"table {name} does not exist; run worker check --create")
            self._known[name] = table
        return table

    def _writer(self, connection: Connection, name: str, row_type: RowType | None) -> RowWriter:
        at = name, row_type
        if at not in self._writers:
            table = self._table(connection, name)
            if self._options.evolve and row_type is not None:
                table = self._evolved(connection, table, row_type)
            writer = RowWriter(table, row_targets(table, row_type, self._options))
            if row_type is not None:
                review.refuse_unfilled(table, {*writer.names, *self._options.key})
            self._writers[at] = writer
        return self._writers[at]

    def _evolved(self, connection: Connection, table: Table, row_type: RowType) -> Table:
        missing = [name for name in fields_of(row_type, self._options) if name not in table.columns]
        if not missing:
            return table
        made = ensure_table(connection, table.name, row_type, self._options, None)
        _log.info("table_evolved", route=self._route, table=table.name, columns=missing)
        # What is added goes with a transaction that is rolled back.
        self._unevolved.setdefault(table.name, table.version)
        self._known[table.name] = made
        return made

    def _key_targets(self, connection: Connection, name: str, key_type: RowType | None) -> list[Target]:
        at = name, key_type
        if at not in self._keys:
            self._keys[at] = key_targets(self._table(connection, name), key_type, self._options)
        return self._keys[at]
