"""
Passes over the leases of a batch; in native memory's language where the extension is there, and here as its twin.

A lease is a row of 16 words of 64 bits, so that a pass touches one stretch of memory for each and either form can read
it: whole numbers, times as floats, and flags of a byte each in one word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.native import IS_LOADED, extension
from worker.zerokms.keys.part import Ints

Words = NDArray[np.int64]
Flags = NDArray[np.bool_]

WORDS = 16
PINS, USES, SEEN, GAP, BORN, RENEW, VALUES, BYTES, NOT_BEFORE, KEY, _FLAGS, NEXT_BORN = range(12)
HELD, USED, FOLLOWED, ASKED, LOOSE = range(5)
OFTEN = 3
"""Uses are counted up to here, as the paper on S3-FIFO has it."""
RARELY = 1e9
"""Seconds between the uses of a context that has been used once."""


def whole(table: Words, word: int) -> Words:
    """A column of whole numbers."""
    return table[:, word]


def time(table: Words, word: int) -> NDArray[np.float64]:
    """A column of seconds."""
    return table.view(np.float64)[:, word]


def flag(table: Words, number: int) -> Flags:
    """A column of flags."""
    return table.view(np.bool_)[:, 8 * _FLAGS + number]


def pin(table: Words, slots: Ints) -> None:
    """Count a use of each, and pin it."""
    if _is_native(table):
        extension.lease_pin(table, slots)
        return
    table[slots, USES] = np.minimum(table[slots, USES] + 1, OFTEN)
    table[slots, PINS] += 1


def unpin(table: Words, slots: Ints) -> None:
    """Let go of what was pinned."""
    if _is_native(table):
        extension.lease_unpin(table, slots)
    else:
        table[slots, PINS] -= 1


def begin(table: Words, slots: Ints, now: float) -> None:
    """Note that a batch uses these leases."""
    if _is_native(table):
        extension.lease_begin(table, slots, now)
        return
    seen, gaps = time(table, SEEN), time(table, GAP)
    gap, known = now - seen[slots], gaps[slots]
    gaps[slots] = np.where(known >= RARELY, gap, known + 0.3 * (gap - known))
    seen[slots] = now


def fresh(table: Words, slots: Ints, now: float, max_age_s: float) -> Flags:
    """Tell which leases can be used; one without an age serves the one batch that asked for it."""
    if _is_native(table):
        return np.frombuffer(extension.lease_fresh(table, slots, now, max_age_s), np.bool_)
    aged = now - time(table, BORN)[slots] >= max_age_s if max_age_s else flag(table, USED)[slots]
    usable: Flags = ~aged & (table[slots, VALUES] > 0) & (table[slots, BYTES] > 0)
    return usable


def take(table: Words, slots: Ints, values: Ints, size: Ints, now: float, max_age_s: float) -> tuple[Flags, Ints]:
    """Take values and bytes off those leases that have room for all; returns which these are, and their `KEY`."""
    if _is_native(table):
        fits, keys = extension.lease_take(table, slots, values, size, now, max_age_s)
        return np.frombuffer(fits, np.bool_), np.frombuffer(keys, np.int64)
    fit: Flags = fresh(table, slots, now, max_age_s) & (table[slots, VALUES] >= values) & (table[slots, BYTES] >= size)
    chosen = slots[fit]
    table[chosen, VALUES] -= values[fit]
    table[chosen, BYTES] -= size[fit]
    flag(table, USED)[chosen] = True
    return fit, table[chosen, KEY]


def ahead(table: Words, slots: Ints, now: float, max_age_s: float, gap: float, values: float, size: float) -> Ints:
    """
    Return those of the slots whose next lease should be fetched now.

    Args:
        gap: the longest gap between uses of a context that will surely use it.
        values: how many a lease has left when the next one is due.
        size: how many bytes, likewise.
    """
    if _is_native(table):
        return np.frombuffer(extension.lease_ahead(table, slots, (now, max_age_s, gap, values, size)), np.int64)
    near = (
        (now - time(table, BORN)[slots] > time(table, RENEW)[slots])
        | (table[slots, VALUES] < values)
        | (table[slots, BYTES] < size)
    )
    near &= fresh(table, slots, now, max_age_s) & (time(table, GAP)[slots] <= gap)
    near &= ~flag(table, ASKED)[slots] & ~flag(table, FOLLOWED)[slots] & (now >= time(table, NOT_BEFORE)[slots])
    return slots[near]


def _is_native(table: Words) -> bool:
    return IS_LOADED and table.shape[1] == WORDS
