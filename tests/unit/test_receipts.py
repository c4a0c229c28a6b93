"""What an authority's audit said of a client's requests, until a ledger has it."""

from __future__ import annotations

from uuid import UUID

import pytest

from worker.model.receipts import Receipts, as_json

CHAIN = "0c0d0000-0000-4000-8000-000000000001"
DIGEST = "ab" * 32


def entry(number: int) -> str:
    return f"{CHAIN} {number} {DIGEST}"


def test_a_receipt_is_held_until_it_is_kept() -> None:
    """Oldest first, as many as are asked for; what was kept is not told again."""
    receipts = Receipts()
    for number in range(3):
        receipts.note(entry(number), UUID(int=number))

    assert receipts.held(2) == (f"{entry(0)} {UUID(int=0)}", f"{entry(1)} {UUID(int=1)}")
    receipts.kept(receipts.held(2))
    assert receipts.take() == [f"{entry(2)} {UUID(int=2)}"]
    assert receipts.held(10) == ()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"{CHAIN} -1 {DIGEST}",
        f"{CHAIN} 1 {DIGEST[:-1]}",
        f"x{entry(1)}",
        f"{entry(1)}\n",
        f"{entry(1)} {DIGEST}",
    ],
)
def test_what_is_no_place_is_not_held(header: str | None) -> None:
    """The public service sends none, and whatever a proxy writes there gets into no ledger."""
    receipts = Receipts()

    receipts.note(header)

    assert receipts.take() == []


def test_of_those_that_nobody_keeps_the_newest_stay() -> None:
    """A worker without a ledger holds no more and no more of them."""
    receipts = Receipts(most=2)
    for number in range(4):
        receipts.note(entry(number))

    assert receipts.take() == [entry(2), entry(3)]


def test_as_json_it_is_what_verification_reads() -> None:
    """Where the line stands, and the request that it is of where the body named one."""
    place = {"chain": CHAIN, "seq": 7, "hash": DIGEST}

    assert as_json(entry(7)) == place
    assert as_json(f"{entry(7)} {UUID(int=1)}") == {**place, "request_id": str(UUID(int=1))}
