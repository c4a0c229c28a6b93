"""The ledger's rows: what each keyset sealed, partition by partition."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.unit.encryption.plans import plan
from worker.avro import SplitBatch
from worker.avro.batch import Seams
from worker.model import KeyUsage, Position, SourceRecord, ValueColumn, batch_of
from worker.model.receipts import Receipts
from worker.pipeline.ledger import ledger_rows, receipted

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


def receipts_of(*numbers: int) -> tuple[Receipts, list[str]]:
    texts = [f"{UUID(int=1)} {number} {'ab' * 32}" for number in numbers]
    receipts = Receipts()
    for text in texts:
        receipts.note(text)
    return receipts, texts


def test_receipts_go_with_a_batch_s_first_row_once() -> None:
    """Whatever the audit said since the last batch is in the ledger with this one, and not with the next."""
    receipts, texts = receipts_of(1, 2)
    taken = split(ValueColumn(plan(format="leased", descriptor="a"), [b""] * 4, [0, 1, 2, 3]))
    rows = ledger_rows(MEMBERS, taken, [usage(1, 1, 4, "a")], "7")

    with receipted(rows, receipts) as first:
        pass
    with receipted(rows, receipts) as second:
        pass

    assert [row.audited for row in first] == [tuple(texts), ()]
    assert [row.audited for row in second] == [(), ()]


def test_receipts_of_a_batch_that_did_not_become_durable_go_with_the_next() -> None:
    """An aborted batch takes none away, nor does one without rows."""
    receipts, texts = receipts_of(1)
    taken = split(ValueColumn(plan(format="leased", descriptor="a"), [b""] * 4, [0, 1, 2, 3]))
    rows = ledger_rows(MEMBERS, taken, [usage(1, 1, 4, "a")], "7")

    with pytest.raises(RuntimeError, match="away"), receipted(rows, receipts):
        raise RuntimeError("away")
    with receipted([], receipts) as none:
        assert list(none) == []

    assert receipts.take() == texts
