"""
Passes over the leases of a batch; in native memory's language where the extension is there, and here as its twin.

A lease is a row of 64 bytes that begins where a line of the processor's cache does, so that a pass touches one line for
each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.native import IS_LOADED, extension
from worker.zerokms.keys.part import Ints

if TYPE_CHECKING:
    from worker import _native

Flags = NDArray[np.bool_]
Rows = NDArray[np.void]

SLOT = [("pins", np.int32), ("uses", np.int32)]
"""What a row of any shelf begins with; it has a `weight` and a `queue` besides."""
LEASE = np.dtype(
    [
        *SLOT,
        ("seen", np.float64),
        ("gap", np.float32),
        ("renew", np.float32),
        ("born", np.float64),
        ("values", np.int64),
        ("bytes", np.int64),
        ("key", np.int32),
        ("weight", np.int32),
        *[(name, np.bool_) for name in ("held", "used", "followed", "asked", "loose")],
        ("queue", np.uint8),
        *[(name, np.bool_) for name in ("a", "b")],
    ]
)
"""A lease's row: 8 words of 64 bits; `seen` and `born` on the cache's clock, `gap` and `renew` seconds."""
NO_QUEUE, IN_SMALL, IN_MAIN = 0, 1, 2
"""Where a slot stands; see `worker.zerokms.keys.shelf`."""
FRESH, HOLDS, ASKED = np.uint8(1), np.uint8(2), np.uint8(4)
"""What a lease is: usable, there or with one to follow, under way; see `states`."""
OFTEN = 3
"""Uses are counted up to here, as the paper on S3-FIFO has it."""
RARELY = 1e9
"""Seconds between the uses of a context that has been used once."""
EMPTY = np.zeros(1, LEASE)
"""The row of a context that has no lease yet."""
EMPTY["gap"], EMPTY["seen"] = RARELY, -RARELY


def rows(count: int, kind: np.dtype[Any]) -> Rows:
    """Return rows of zeros; those of 64 bytes begin where lines of the processor's cache do."""
    raw = np.zeros(count * kind.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    table: Rows = raw[start : start + count * kind.itemsize].view(kind)
    return table


def grown(table: Rows, count: int) -> Rows:
    """Return a longer table that begins with this one's rows."""
    longer = rows(count, table.dtype)
    longer[: len(table)] = table
    return longer


def fill(table: Rows, slots: Ints, row: Rows) -> None:
    """Have slots begin with this one row."""
    # As bytes: numpy copies a row of named fields field by field.
    raw = np.dtype((np.void, table.dtype.itemsize))
    table.view(raw)[slots] = row.view(raw)


class Due(NamedTuple):
    """When leases end, and when the next ones should be fetched."""

    now: float
    max_age_s: float
    gap: float
    """Seconds: the longest gap between uses of a context that will surely use its next lease."""
    values: float
    """How many values a lease has left when the next one is due."""
    bytes: float


def begin(
    table: Rows, slots: Ints, values: Ints, size: Ints, due: Due, vault: _native.Vault | None = None
) -> tuple[Flags, bool, bool, _native.Granted | None]:
    """
    Note the use of leases by a batch, and take values and bytes off those that have room for all.

    The others are pinned, or all where leases have no age.

    Returns:
        Which had room for all; whether all can be used; whether one was near its end; their keys out of the vault.
    """
    if vault is not None:
        whole, are_fresh, is_near, keys = vault.begin(table.view(np.int64), slots, values, size, due)
        return np.frombuffer(whole, np.bool_), are_fresh, is_near, keys
    if IS_LOADED:
        whole, are_fresh, is_near = extension.lease_begin(table.view(np.int64), slots, values, size, due)
        return np.frombuffer(whole, np.bool_), are_fresh, is_near, None
    gap, known = due.now - table["seen"][slots], table["gap"][slots].astype(np.float64)
    table["gap"][slots] = np.where(known >= RARELY, gap, known + 0.3 * (gap - known))
    table["seen"][slots] = due.now
    note(table, slots)
    are_fresh = bool(_usable(table, slots, due.now, due.max_age_s).all())
    is_near = bool(_near(table, slots, due).any())
    fit, _ = take(table, slots, values, size, due)
    table["pins"][slots[~fit] if due.max_age_s else slots] += 1
    return fit, are_fresh, is_near, None


def note(table: Rows, slots: Ints) -> None:
    """Count a use of slots of any shelf."""
    table["uses"][slots] = np.minimum(table["uses"][slots] + 1, OFTEN)


def pin(table: Rows, slots: Ints) -> None:
    """Pin slots of any shelf, and count the use."""
    note(table, slots)
    table["pins"][slots] += 1


def end(table: Rows, slots: Ints) -> None:
    """Let go of leases that a batch pinned."""
    if IS_LOADED:
        extension.lease_end(table.view(np.int64), slots)
    else:
        table["pins"][slots] -= 1


def states(table: Rows, slots: Ints, now: float, max_age_s: float) -> NDArray[np.uint8]:
    """
    Return what leases are: `FRESH`, `HOLDS` and `ASKED` together.

    A fresh one can be used; one without an age serves the one batch that asked for it.
    """
    if IS_LOADED:
        return np.frombuffer(extension.lease_states(table.view(np.int64), slots, now, max_age_s), np.uint8)
    usable = _usable(table, slots, now, max_age_s)
    holds = table["held"][slots] | table["followed"][slots]
    found: NDArray[np.uint8] = FRESH * usable + HOLDS * holds + ASKED * table["asked"][slots]
    return found


def take(
    table: Rows, slots: Ints, values: Ints, size: Ints, due: Due, vault: _native.Vault | None = None
) -> tuple[Flags, _native.Granted | None]:
    """Take values and bytes off those leases that have room for all; returns which these are, and their keys."""
    if vault is not None:
        whole, keys = vault.take(table.view(np.int64), slots, values, size, due.now, due.max_age_s)
        return np.frombuffer(whole, np.bool_), keys
    if IS_LOADED:
        whole = extension.lease_take(table.view(np.int64), slots, values, size, due.now, due.max_age_s)
        return np.frombuffer(whole, np.bool_), None
    fit = _usable(table, slots, due.now, due.max_age_s)
    fit &= (table["values"][slots] >= values) & (table["bytes"][slots] >= size)
    chosen = slots[fit]
    table["values"][chosen] -= values[fit]
    table["bytes"][chosen] -= size[fit]
    table["used"][chosen] = True
    return fit, None


def ahead(table: Rows, slots: Ints, due: Due) -> Ints:
    """Return those of the slots whose next lease should be fetched now, but for one that failed just before."""
    if IS_LOADED:
        return np.frombuffer(extension.lease_ahead(table.view(np.int64), slots, due), np.int64)
    wanted: Flags = _near(table, slots, due) & table["held"][slots] & ~_aged(table, slots, due.now, due.max_age_s)
    wanted &= table["gap"][slots] <= due.gap
    wanted &= ~table["asked"][slots] & ~table["followed"][slots]
    return slots[wanted]


def _usable(table: Rows, slots: Ints, now: float, max_age_s: float) -> Flags:
    usable: Flags = ~_aged(table, slots, now, max_age_s)
    usable &= (table["values"][slots] > 0) & (table["bytes"][slots] > 0)
    return usable


def _aged(table: Rows, slots: Ints, now: float, max_age_s: float) -> Flags:
    aged: Flags = now - table["born"][slots] >= max_age_s if max_age_s else table["used"][slots]
    return aged


def _near(table: Rows, slots: Ints, due: Due) -> Flags:
    near: Flags = due.now - table["born"][slots] > table["renew"][slots]
    near |= (table["values"][slots] < due.values) | (table["bytes"][slots] < due.bytes)
    return near
