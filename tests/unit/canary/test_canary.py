"""The canary: made once, opened ever after, or nothing is written."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.fakes.canaries import CanaryMemory
from worker.canary.canary import KeptCanaries, open_or_make
from worker.errors import CanaryError, DecryptionError

KEYSET = UUID(int=5)


def seal(plain: bytes) -> bytes:
    return plain[::-1]


def test_is_made_on_first_use_and_opened_after() -> None:
    """The first worker makes it, the next opens it."""
    store = CanaryMemory()

    made = [open_or_make(KEYSET, store, seal=seal, unseal=seal) for _ in range(2)]

    assert made == [True, False]


def test_stops_where_the_authority_gives_other_keys() -> None:
    """A canary that does not open, or opens to something else, is fatal."""
    store = CanaryMemory()
    open_or_make(KEYSET, store, seal=seal, unseal=seal)

    def refuse(_: bytes) -> bytes:
        raise DecryptionError("the tag does not match")

    with pytest.raises(CanaryError):
        open_or_make(KEYSET, store, seal=seal, unseal=refuse)
    with pytest.raises(CanaryError):
        open_or_make(KEYSET, store, seal=seal, unseal=lambda _: b"x")


def test_a_canary_is_read_once() -> None:
    """What a store gave is remembered: it never changes."""
    store = CanaryMemory()
    kept = KeptCanaries(store)
    assert kept.load(KEYSET) is None
    kept.save(KEYSET, b"one")
    assert kept.load(KEYSET) == b"one"

    store.kept.clear()

    assert kept.load(KEYSET) == b"one"
