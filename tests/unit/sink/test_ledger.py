"""The ledger's hash chain."""

from __future__ import annotations

import dataclasses
from uuid import UUID

import orjson
import pytest

from worker.errors import FatalError
from worker.sink.base import LedgerRow
from worker.sink.ledger import GENESIS, Chain, link, verify


def _rows(count: int) -> list[LedgerRow]:
    return [
        LedgerRow(UUID(int=i), (UUID(int=9),), UUID(int=7), "record", 2, 2, "t", 0, i * 10, i * 10 + 9, "1001")
        for i in range(count)
    ]


def _chain(count: int) -> list[bytes]:
    return [e.as_json() for e in link(_rows(count), chain="c", sequence=0, prev_hash=GENESIS)]


def test_an_untouched_chain_verifies() -> None:
    """A chain as written verifies and tells its length."""
    assert verify(_chain(4)) == 4


def test_a_chain_continues_over_batches() -> None:
    """Linking in two steps gives the same entries as in one."""
    rows = _rows(4)
    first = link(rows[:2], chain="c", sequence=0, prev_hash=GENESIS)

    second = link(rows[2:], chain="c", sequence=2, prev_hash=first[-1].hash)

    assert [e.as_json() for e in first + second] == _chain(4)


@pytest.mark.parametrize("field", ["keys", "values", "last_offset", "schema_id", "keyset"])
def test_an_altered_field_is_found(field: str) -> None:
    """Changing any field of an entry breaks its hash."""
    chain = _chain(3)
    entry = orjson.loads(chain[1])
    entry[field] = 5 if isinstance(entry[field], int) else "x"
    chain[1] = orjson.dumps(entry)

    with pytest.raises(FatalError, match="altered"):
        verify(chain)


def test_a_removed_entry_is_found() -> None:
    """Leaving an entry out breaks the chain where it stood."""
    chain = _chain(3)

    with pytest.raises(FatalError, match="before entry 1"):
        verify([chain[0], chain[2]])


def test_a_commit_of_unknown_fate_does_not_fork_the_chain() -> None:
    """Whether its entries were written or not, no two entries have one place in one chain, and each chain verifies."""
    for written in (True, False):
        chain = Chain()
        first = chain.link(_rows(2))
        chain.kept(first)
        lost = chain.link(_rows(2))
        chain.doubt()
        again = chain.link(_rows(2))
        chain.kept(again)

        found: dict[str, list[bytes]] = {}
        for entry in [*first, *(lost if written else []), *again]:
            found.setdefault(entry.chain, []).append(entry.as_json())

        assert sorted(verify(entries) for entries in found.values()) == ([2, 4] if written else [2, 2])


def test_an_entry_without_receipts_hashes_as_before_there_were_any() -> None:
    """Chains of earlier versions verify, and go on with entries that have some."""
    first, second = _rows(2)
    rows = [first, dataclasses.replace(second, audited=("c 1 h",))]
    old, new = link(rows, chain="c", sequence=0, prev_hash=GENESIS)

    assert "audited" not in old.fields()
    assert orjson.loads(new.as_json())["audited"] == ["c 1 h"]
    assert verify([old.as_json(), new.as_json()]) == 2


def test_an_altered_receipt_is_found() -> None:
    """What the audit said is under the entry's hash."""
    (entry,) = link([dataclasses.replace(_rows(1)[0], audited=("c 1 h",))], chain="c", sequence=0, prev_hash=GENESIS)

    with pytest.raises(FatalError, match="altered"):
        verify([entry.as_json().replace(b"c 1 h", b"c 2 h")])
