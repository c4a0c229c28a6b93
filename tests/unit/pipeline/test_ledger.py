"""The ledger's rows: what each keyset sealed, partition by partition."""

from __future__ import annotations

from uuid import UUID

from tests.unit.encryption.plans import plan
from worker.avro import SplitBatch
from worker.avro.batch import Seams
from worker.model import KeyUsage, Position, SourceRecord, ValueColumn, batch_of
from worker.pipeline.ledger import ledger_rows

MEMBERS = batch_of(SourceRecord(Position("t", p, offset), None, b"") for p in (0, 1) for offset in (5, 6))
REQUEST = UUID(int=9)


def usage(keyset: int, keys: int, values: int, descriptor: str) -> KeyUsage:
    return KeyUsage(UUID(int=keyset), "leased", frozenset({REQUEST}), keys, values, frozenset({descriptor}))


def split(*columns: ValueColumn) -> SplitBatch:
    slots = list(range(len(columns)))
    return SplitBatch(list(columns), {}, {}, Seams([b""] * 4, start=0, cuts=[[]] * 4, slots=slots, sized=True))


def test_two_keysets_of_one_format_have_rows_for_every_partition() -> None:
    """Each keyset counts its own fields' values in every partition; keys stand once."""
    taken = split(
        ValueColumn(plan(format="leased", descriptor="a"), [b""] * 4, [0, 1, 2, 3]),
        ValueColumn(plan(format="leased", descriptor="b"), [b""], [2]),
    )

    rows = ledger_rows(MEMBERS, taken, [usage(1, 1, 4, "a"), usage(2, 1, 1, "b")], "7")

    found = {(row.keyset.int, row.partition): (row.keys, row.values, row.first_offset, row.last_offset) for row in rows}
    assert found == {(1, 0): (1, 2, 5, 6), (1, 1): (0, 2, 5, 6), (2, 0): (1, 0, 5, 6), (2, 1): (0, 1, 5, 6)}


def test_records_that_failed_are_not_counted() -> None:
    """A refused record's values were never sealed."""
    taken = split(ValueColumn(plan(format="leased", descriptor="a"), [b""] * 4, [0, 1, 2, 3]))
    taken.drop({0, 1})

    rows = ledger_rows(MEMBERS, taken, [usage(1, 1, 2, "a")], "7")

    assert [row.values for row in rows] == [0, 2]
