"""Data keys handed to the extension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgpack

from worker.encryption.record import policy_array, seal_records
from worker.errors import KeyServiceUnavailable
from worker.model import DataKey
from worker.native import extension
from worker.native.keys import HeldKey, KeyRun, wipe

if TYPE_CHECKING:
    from worker import _native


def singles_of(keys: Sequence[DataKey]) -> _native.Drawn | list[tuple[_native.KeyBatch, int, int]]:
    """Return single-use keys as a batch in native memory takes them; plain ones are copied there, and wiped here."""
    return keys.supply if isinstance(keys, KeyRun) else _copied(keys)


def _copied(keys: Sequence[DataKey]) -> list[tuple[_native.KeyBatch, int, int]]:
    try:
        return [(batch_of(keys), 0, len(keys))]
    finally:
        wipe(keys)


def batch_of(keys: Sequence[DataKey]) -> _native.KeyBatch:
    """Return copies of keys in native memory."""
    return extension.KeyBatch(list(keys), [msgpack.packb(policy_array(k.policy)) if k.policy else b"" for k in keys])


def seal_singles(keys: Sequence[DataKey], typed: Sequence[bytes]) -> list[bytes]:
    """Seal each typed plaintext under its own key, as MessagePack; the keys are used up."""
    try:
        held = _held(keys)
        return seal_records(keys, typed) if held is None else extension.seal_records(held, typed)
    finally:
        wipe(keys)


def seal_texts(keys: Sequence[DataKey], texts: _native.Texts, start: int) -> list[bytes]:
    """Seal the texts from a place on, each under its own key, as MessagePack; the keys are used up."""
    held = _held(keys)
    try:
        return texts.seal(_copied(keys) if held is None else held, start)
    finally:
        wipe(keys)


def _held(keys: Sequence[DataKey]) -> list[tuple[_native.KeyBatch, int, int]] | None:
    """Return where keys lie in native memory; None where one does not."""
    if isinstance(keys, KeyRun):
        return keys.portions
    held = [key.part for key in keys if isinstance(key, HeldKey)]
    return held if len(held) == len(keys) else None


def leases_of(keys: Sequence[DataKey]) -> _native.Granted:
    """Return a batch's own copies of leases."""
    try:
        return extension.Granted(list(keys))
    except RuntimeError:
        raise KeyServiceUnavailable("a lease was dropped while it was in use; ask again") from None


def lease_of(key: DataKey) -> _native.Lease:
    """The lease's cipher, built once and kept on the key, so that it goes when the key goes."""
    held = key.cipher
    if isinstance(held, extension.Lease):
        return held
    try:
        built = (
            key.lease()
            if isinstance(key, HeldKey)
            else extension.Lease(key.secret, key.keyset.bytes, key.iv, key.tag, key.descriptor)
        )
    except RuntimeError:
        raise KeyServiceUnavailable("a lease was dropped while it was in use; ask again") from None
    key.cipher = built
    return built
