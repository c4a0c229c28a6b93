"""Exactly one fate a record."""

from __future__ import annotations

import pytest

from worker.errors import DecodeError, FateError
from worker.model import Fate, Fates


def test_every_record_has_the_fate_it_was_given() -> None:
    """Stretches, single records and failures, counted over any stretch."""
    fates = Fates(6)

    fates.settle(range(2), Fate.ENCRYPTED)
    fates.settle([2, 4], Fate.PASSED)
    fates.fail(3, DecodeError("broken"), "decode")
    fates.settle(range(5, 6), Fate.TOMBSTONE)
    fates.close()

    assert [fates[i] for i in range(6)] == [
        Fate.ENCRYPTED, Fate.ENCRYPTED, Fate.PASSED, Fate.FAILED, Fate.PASSED, Fate.TOMBSTONE
    ]  # fmt: skip
    assert list(fates.written) == [0, 1, 2, 4, 5]
    assert fates.counts(1, 4) == {Fate.ENCRYPTED: 1, Fate.PASSED: 1, Fate.FAILED: 1}
    assert fates.failures[3].stage == "decode"


@pytest.mark.parametrize("again", [range(3), [1], range(1, 2)])
@pytest.mark.parametrize("fate", [Fate.ENCRYPTED, Fate.FORWARDED])
def test_refuses_a_second_fate(again: range | list[int], fate: Fate) -> None:
    """What failed can't be written, and what is written can't fail."""
    fates = Fates(3)
    fates.fail(1, DecodeError("broken"), "decode")

    with pytest.raises(FateError):
        fates.settle(again, fate)
    with pytest.raises(FateError):
        fates.fail(1, DecodeError("broken"), "decode")


def test_refuses_to_be_closed_while_one_is_missing() -> None:
    """A record that nobody spoke of must not vanish."""
    fates = Fates(2)
    fates.settle([0], Fate.ENCRYPTED)

    with pytest.raises(FateError, match="1 of 2"):
        fates.close()


def test_refuses_a_change_once_closed() -> None:
    """After the close nothing can be given."""
    fates = Fates(1)
    fates.settle(range(1), Fate.ENCRYPTED)
    fates.close()

    with pytest.raises(FateError):
        fates.settle(range(0), Fate.ENCRYPTED)


@pytest.mark.parametrize("fate", [Fate.UNKNOWN, Fate.FAILED])
def test_refuses_what_is_no_fate_of_its_own(fate: Fate) -> None:
    """A failure needs its error."""
    with pytest.raises(FateError):
        Fates(1).settle([0], fate)


def test_tells_whose_fate_is_open() -> None:
    """Places without a fate, in their order."""
    fates = Fates(4)

    assert fates.open(range(4)) == range(4)
    fates.settle([1], Fate.ENCRYPTED)
    assert list(fates.open(range(4))) == [0, 2, 3]
