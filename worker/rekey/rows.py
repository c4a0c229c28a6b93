"""A table's rows as records of its output schema, and what replaces their encrypted cells."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from worker import jsonform
from worker.avro import CompiledSchema, open_schema
from worker.avro.projection import Projection, projection
from worker.avro.rows import RowReader
from worker.avro.schema import parse
from worker.column_names import column_name
from worker.errors import ConfigError, RecordError, WorkerError
from worker.model import Split
from worker.model.rows import Row
from worker.rekey.marks import Marks
from worker.rekey.recode import Recoder
from worker.rekey.wanted import narrowed
from worker.sdk.rows import envelope_of
from worker.sink.postgres.keyed import Condition, column_of, other_than
from worker.sink.postgres.rewrite import Change, Found, Key, Rewrite
from worker.sink.postgres.table import Table

MakeRecoder = Callable[[str, CompiledSchema, Sequence[str]], Recoder]
"""Of a stored schema, the way to seal it anew, and the fields whose columns have search terms."""


@dataclass(slots=True)
class Worked:
    """
    What a page became.

    Args:
        changes: what is to be exchanged.
        refused: why a row can't be, by its key.
        done: rows that were as they should be.
    """

    changes: list[Change] = field(default_factory=list)
    refused: list[tuple[Key, WorkerError]] = field(default_factory=list)
    done: int = 0


class Shape:
    """
    Which columns of a table are rewritten, and which are read besides because values are bound to them.

    Args:
        stored: the output schema of what lies in the table.
        whole: how it is sealed anew.
        table: as the server describes it.
        key: the columns to page by.

    Raises:
        ConfigError: a column is missing, or a value is bound to what a table does not hold.
    """

    def __init__(self, stored: str, whole: CompiledSchema, table: Table, key: Sequence[str]) -> None:
        root = parse(stored)
        if bound := [plan.identity for plan in open_schema(stored).fields if "$key" in plan.bind]:
            raise ConfigError(f"{', '.join(bound)} binds $key, the record's own key, which a table's row does not hold")
        every = tuple(item.name for item in root.fields)
        self.projection, self.compiled = _projected(stored, whole, _least(stored, every))
        if not _agrees(self.projection, self.compiled, stored, whole):
            self.projection, self.compiled = _projected(stored, whole, every)
        self.cells = tuple(self.projection.encrypted)
        kinds = {kind.name: kind for kind in self.compiled.row_type.columns}
        for name in self.projection.names:
            column_of(table, name)
        rewritten = {column_name(name): kinds[name] for name in self.cells}
        if both := sorted(set(rewritten) & set(key)):
            raise ConfigError(f"{', '.join(both)} is encrypted, and a key column too; page by another key (--key)")
        beside = [column_name(name) for name in self.projection.names if name not in self.cells]
        self.rewrite = Rewrite(table, key, rewritten, beside)
        self.order = (*self.cells, *(name for name in self.projection.names if name not in self.cells))


class TableRows:
    """
    Turns pages into changes.

    Args:
        shape: of the table.
        make: the recoder.
        resolve: a keyset's uuid.
    """

    def __init__(self, shape: Shape, make: MakeRecoder, resolve: Callable[[str | None], UUID]) -> None:
        self._shape, self.rewrite = shape, shape.rewrite
        eql = [name for name in shape.cells if column_name(name) in shape.rewrite.searchable]
        self._recoder = make(shape.projection.schema, shape.compiled, eql)
        self._marks = Marks(shape.compiled.plan.fields, resolve)
        self._kinds = [kind.name for kind in shape.compiled.row_type.columns]
        self._old_rows = RowReader(parse(shape.projection.schema))
        table = self.rewrite.table
        sealed = {plan.identity.partition("/")[2] for plan in shape.compiled.plan.fields}
        self._nested = [name for name in shape.cells if name not in sealed]
        self._texts = [n for n in shape.order if n in self._nested and _is_json(table, n)]

    @property
    def where(self) -> Condition:
        """The server's own look for rows that may have to be changed."""
        heads = {}
        for name in self._shape.cells:
            marks = [mark for identity, mark in self._marks.of.items() if identity.partition("/")[2] == name]
            heads[column_name(name)] = marks[0].tell if marks else (b"", 1)
        return other_than(self.rewrite.table, heads)

    def work(self, page: Sequence[Found]) -> Worked:
        """
        Encrypt a page's rows anew, but for those that are as they should be.

        Raises as `Recoder.recode`.
        """
        worked = Worked()
        rows, datums = list[Found](), list[bytes]()
        for row in page:
            try:
                datums.append(self._datum(row))
                rows.append(row)
            except RecordError as exc:
                worked.refused.append((row.key, exc))
        split = self._recoder.split(datums, [None] * len(datums))
        todo = set(split.errors)
        for column in split.columns:
            identity = column.plan.identity
            has = self._marks.has
            todo.update(i for i, value in zip(column.records, column.values, strict=True) if not has(identity, value))
        worked.done = len(rows) - len(todo)
        if not todo:
            return worked
        if len(todo) < len(rows):
            places = sorted(todo)
            rows, datums = [rows[i] for i in places], [datums[i] for i in places]
            split = self._recoder.split(datums, [None] * len(datums))
        recoded = self._recoder.recode(split, [None] * len(rows))
        good = [i for i, datum in enumerate(recoded.data) if datum is not None]
        made = self._shape.compiled.rows([recoded.data[i] or b"" for i in good], terms=recoded.terms)
        for i, new in zip(good, made, strict=True):
            try:
                worked.changes.append(self._change(rows[i], datums[i], new))
            except RecordError as exc:
                worked.refused.append((rows[i].key, exc))
        worked.refused += [(rows[i].key, error) for i, error in recoded.errors.items()]
        return worked

    def split(self, page: Sequence[Found]) -> tuple[Split, int]:
        """Return a page's envelopes by field, and how many of its rows are no records of the schema."""
        datums, broken = list[bytes](), 0
        for row in page:
            try:
                datums.append(self._datum(row))
            except RecordError:
                broken += 1
        return self._recoder.split(datums, [None] * len(datums)), broken

    def _datum(self, row: Found) -> bytes:
        cells = dict(zip(self._shape.order, row.cells, strict=True))
        for name in self._texts:
            if cells[name] is not None:
                cells[name] = json.loads(cells[name])
        return self._shape.projection.datum(cells, envelope_of)

    def _change(self, row: Found, datum: bytes, new: Row) -> Change:
        old = row.cells[: len(self._shape.cells)]
        if self._nested:
            self._refuse_inexact(old, datum)
        values = dict(zip(self._kinds, new.values, strict=True))
        return Change(row.key, tuple(old), tuple(values[name] for name in self._shape.cells))

    def _refuse_inexact(self, old: Sequence[object], datum: bytes) -> None:
        """Refuse to write JSON that would say anything else than what stands there but for its envelopes."""
        kept = self._old_rows.row(datum)
        values = {kind.name: value for kind, value in zip(kept.type.columns, kept.values, strict=True)}
        for name, cell in zip(self._shape.cells, old, strict=True):
            if name not in self._nested or cell is None:
                continue
            if json.loads(jsonform.dumps(values[name])) != json.loads(str(cell)):
                raise RecordError(
                    f"column {name}: its JSON says more than the field's type, and would not be kept as it is",
                    code="union_mismatch",
                    path=name,
                )


def _least(stored: str, every: Sequence[str]) -> tuple[str, ...]:
    """The encrypted fields and those that their values are bound to."""
    wanted = set(Projection(stored, every).encrypted)
    for plan in open_schema(stored).fields:
        path = plan.identity.partition("/")[2]
        if path in every:
            wanted |= {*plan.context, *plan.bind}
    return tuple(name for name in every if name in wanted)


def _projected(stored: str, whole: CompiledSchema, names: tuple[str, ...]) -> tuple[Projection, CompiledSchema]:
    shape = projection(stored, names)
    return shape, narrowed(whole, shape.schema)


def _agrees(shape: Projection, compiled: CompiledSchema, stored: str, whole: CompiledSchema) -> bool:
    """Whether a part's fields are sealed as the whole's are: two uses of one type differ by their places in it."""
    pairs = ((open_schema(shape.schema).fields, open_schema(stored).fields), (compiled.plan.fields, whole.plan.fields))
    for part, all_of_it in pairs:
        known: Mapping[str, object] = {plan.identity: plan for plan in all_of_it}
        if any(known.get(plan.identity) != plan for plan in part):
            return False
    return True


def _is_json(table: Table, name: str) -> bool:
    return table.columns[column_name(name)].type in ("json", "jsonb")
