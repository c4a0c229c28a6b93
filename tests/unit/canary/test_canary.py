"""The canary: made once, opened ever after, or nothing is written."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from worker.canary.canary import CanaryFiles, KeptCanaries, open_or_make
from worker.errors import CanaryError, DecryptionError

KEYSET = UUID(int=5)


def seal(plain: bytes) -> bytes:
    return plain[::-1]


def test_is_made_on_first_use_and_opened_after(tmp_path: Path) -> None:
    """The first worker makes it, the next opens it."""
    store = CanaryFiles(tmp_path / "canaries")

    made = [open_or_make(KEYSET, store, seal=seal, unseal=seal) for _ in range(2)]

    assert made == [True, False]


def test_stops_where_the_authority_gives_other_keys(tmp_path: Path) -> None:
    """A canary that does not open, or opens to something else, is fatal."""
    store = CanaryFiles(tmp_path)
    open_or_make(KEYSET, store, seal=seal, unseal=seal)

    def refuse(_: bytes) -> bytes:
        raise DecryptionError("the tag does not match")

    with pytest.raises(CanaryError):
        open_or_make(KEYSET, store, seal=seal, unseal=refuse)
    with pytest.raises(CanaryError):
        open_or_make(KEYSET, store, seal=seal, unseal=lambda _: b"x")


def test_the_first_canary_stays(tmp_path: Path) -> None:
    """Of two first writers one wins, and no unfinished file is left."""
    store = CanaryFiles(tmp_path)

    store.save(KEYSET, b"one")
    store.save(KEYSET, b"two")

    assert store.load(KEYSET) == b"one"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_canary_is_read_once(tmp_path: Path) -> None:
    """What a store gave is remembered: it never changes."""
    store = CanaryFiles(tmp_path)
    kept = KeptCanaries(store)
    assert kept.load(KEYSET) is None
    kept.save(KEYSET, b"one")
    assert kept.load(KEYSET) == b"one"

    next(tmp_path.iterdir()).unlink()

    assert kept.load(KEYSET) == b"one"
