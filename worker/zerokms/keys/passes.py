"""
Passes over the leases of a batch; in native memory's language where the extension is there, and here as its twin.

A lease is a row of 16 words of 64 bits, so that a pass touches one stretch of memory for each and either form can read
it: whole numbers, times as floats, and flags of a byte each in one word.
"""

from __future__ import annotations

from typing import NamedTuple

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


class Due(NamedTuple):
    """When leases end, and when the next ones should be fetched."""

    now: float
    max_age_s: float
    gap: float
    """Seconds: the longest gap between uses of a context that will surely use its next lease."""
    values: float
    """How many values a lease has left when the next one is due."""
    bytes: float


def begin(table: Words, slots: Ints, due: Due) -> tuple[bool, bool]:
    """Pin leases for a batch and note the use; returns whether all can be used, and whether one is near its end."""
    if IS_LOADED:
        return extension.lease_begin(table, slots, due)
    seen, gaps = time(table, SEEN), time(table, GAP)
    gap, known = due.now - seen[slots], gaps[slots]
    gaps[slots] = np.where(known >= RARELY, gap, known + 0.3 * (gap - known))
    seen[slots] = due.now
    pin(table, slots)
    return bool(fresh(table, slots, due.now, due.max_age_s).all()), bool(_near(table, slots, due).any())


def pin(table: Words, slots: Ints) -> None:
    """Pin slots of any shelf, and count the use."""
    table[slots, USES] = np.minimum(table[slots, USES] + 1, OFTEN)
    table[slots, PINS] += 1


def end(table: Words, slots: Ints) -> None:
    """Let go of leases that a batch pinned."""
    if IS_LOADED:
        extension.lease_end(table, slots)
    else:
        table[slots, PINS] -= 1


def fresh(table: Words, slots: Ints, now: float, max_age_s: float) -> Flags:
    """Tell which leases can be used; one without an age serves the one batch that asked for it."""
    if IS_LOADED:
        return np.frombuffer(extension.lease_fresh(table, slots, now, max_age_s), np.bool_)
    aged = now - time(table, BORN)[slots] >= max_age_s if max_age_s else flag(table, USED)[slots]
    usable: Flags = ~aged & (table[slots, VALUES] > 0) & (table[slots, BYTES] > 0)
    return usable


def take(table: Words, slots: Ints, values: Ints, size: Ints, now: float, max_age_s: float) -> tuple[Flags, Ints]:
    """Take values and bytes off those leases that have room for all; returns which these are, and their `KEY`."""
    if IS_LOADED:
        fits, keys = extension.lease_take(table, slots, values, size, now, max_age_s)
        return np.frombuffer(fits, np.bool_), np.frombuffer(keys, np.int64)
    fit: Flags = fresh(table, slots, now, max_age_s) & (table[slots, VALUES] >= values) & (table[slots, BYTES] >= size)
    chosen = slots[fit]
    table[chosen, VALUES] -= values[fit]
    table[chosen, BYTES] -= size[fit]
    flag(table, USED)[chosen] = True
    return fit, table[chosen, KEY]


def ahead(table: Words, slots: Ints, due: Due) -> Ints:
    """Return those of the slots whose next lease should be fetched now."""
    if IS_LOADED:
        return np.frombuffer(extension.lease_ahead(table, slots, due), np.int64)
    wanted = _near(table, slots, due) & fresh(table, slots, due.now, due.max_age_s)
    wanted &= time(table, GAP)[slots] <= due.gap
    wanted &= ~flag(table, ASKED)[slots] & ~flag(table, FOLLOWED)[slots]
    return slots[wanted & (due.now >= time(table, NOT_BEFORE)[slots])]


def _near(table: Words, slots: Ints, due: Due) -> Flags:
    near: Flags = due.now - time(table, BORN)[slots] > time(table, RENEW)[slots]
    near |= (table[slots, VALUES] < due.values) | (table[slots, BYTES] < due.bytes)
    return near
