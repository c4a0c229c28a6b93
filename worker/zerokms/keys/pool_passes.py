"""
Passes over the pools of a batch; in native memory's language where the extension is there, and here as its twin.

A pool is a row of 128 bytes, two lines of the processor's cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.native import IS_LOADED, extension
from worker.zerokms.keys.part import Ints
from worker.zerokms.keys.passes import IN_SMALL, SLOT, Flags, Rows, pin

POOL = np.dtype(
    [
        *SLOT,
        *[(name, np.int64) for name in ("available", "wanted", "pending")],
        ("born", np.float64),
        *[(name, np.int64) for name in ("generation", "weight", "queue")],
        # What follows lies in another line: of arriving keys and of their granting nothing looks there but `take`.
        ("seen", np.int64),
        ("last", np.float64),
        ("gap", np.float64),
        ("count", np.float64),
        ("depth", np.int64),
        ("not_before", np.float64),
        ("used", np.int64),
        ("wasted", np.int64),
    ]
)
"""
A pool's row: 16 words of 64 bits; times on the cache's clock.

`gap` and `count` are the mean seconds between its batches and keys of one; `available` keys are held, `wanted` of it,
and `pending` under way; `born` is when the oldest was asked for, infinite where there is none.
"""

_NEVER = -1e9
EMPTY = np.zeros(1, POOL)
"""The row of a context that has no keys yet."""
EMPTY["gap"], EMPTY["last"], EMPTY["born"] = np.inf, _NEVER, np.inf

FOR_ONE, FOR_ALL = 1, 2
"""What a pool has; see `look`."""

_SHORTEST_S = 0.05
"""Batches that follow each other faster are counted as if they did so."""
_WASTED = 0.05
"""A pool of which more than this share was never used is not filled ahead of need."""
_FEW, _SPARE = 64, 0.1
"""Of so many keys a pool holds no more than this share of what it has given."""


def begin(table: Rows, slots: Ints, counts: Ints, now: float, most: int) -> None:
    """Pin what a batch needs, and note what it wants; a pool that has too little gets deeper, up to `most`."""
    if IS_LOADED:
        extension.pool_begin(table.view(np.int64), slots, counts, now, most)
        return
    pin(table, slots)
    seen, gap = table["seen"][slots], np.maximum(now - table["last"][slots], _SHORTEST_S)
    again, settled = seen > 0, seen > 1
    # Each by itself: batches of two threads begin in pairs, and the mean of their rates would be beyond the rate.
    for column, new in ((table["gap"], np.where(again, gap, np.inf)), (table["count"], counts)):
        known = column[slots[settled]]
        column[slots] = new
        column[slots[settled]] = known + 0.3 * (new[settled] - known)
    shallow = again & (table["available"][slots] - table["wanted"][slots] < counts)
    deeper = np.minimum(most, np.maximum(2 * table["depth"][slots], counts))
    table["depth"][slots] = np.where(shallow, deeper, table["depth"][slots])
    table["wanted"][slots] += counts
    table["seen"][slots] += 1
    table["last"][slots] = now


def end(table: Rows, slots: Ints) -> None:
    """Let go of what a batch pinned."""
    if IS_LOADED:
        extension.pool_end(table.view(np.int64), slots)
    else:
        table["pins"][slots] -= 1


def look(table: Rows, slots: Ints, counts: Ints, limit: float) -> tuple[Ints, NDArray[np.uint8]]:
    """
    Return the slots whose oldest key was asked for until `limit`, and what each has.

    That is `FOR_ALL` that is wanted of it, `FOR_ONE` where it has the `counts` given alone, else 0.
    """
    if IS_LOADED:
        aged, has = extension.pool_look(table.view(np.int64), slots, counts, limit)
        return np.frombuffer(aged, np.int64), np.frombuffer(has, np.uint8)
    available = table["available"][slots]
    some = np.where(available >= counts, FOR_ONE, 0)
    return slots[table["born"][slots] <= limit], np.where(available >= table["wanted"][slots], FOR_ALL, some)


def take(table: Rows, slots: Ints, counts: Ints) -> None:
    """Take keys that pools have, so many each."""
    if IS_LOADED:
        extension.pool_take(table.view(np.int64), slots, counts)
        return
    table["available"][slots] -= counts
    table["wanted"][slots] -= counts
    table["used"][slots] += counts


def lacking(table: Rows, slots: Ints) -> tuple[Ints, Ints]:
    """Return the slots, and how many keys for each, that are wanted and nobody has asked for."""
    if IS_LOADED:
        return _ints(*extension.pool_lacking(table.view(np.int64), slots))
    counts = -_held(table, slots)
    return slots[counts > 0], counts[counts > 0]


def ahead(table: Rows, slots: Ints, counts: Ints, now: float, full: int, seconds: float) -> tuple[Ints, Ints]:
    """
    Return the slots, and how many keys for each, that should be fetched ahead; deep pools by full requests.

    A batch takes `counts` of each; `full` keys fill a request; a pool holds what so many `seconds` of its demand take.
    """
    if IS_LOADED:
        return _ints(*extension.pool_ahead(table.view(np.int64), slots, counts, now, full, seconds))
    rate = table["count"][slots] / table["gap"][slots]
    target = np.minimum(table["depth"][slots], (rate * seconds).astype(np.int64))
    # Thousands of pools that each hold a key too many are a batch that nobody needs.
    spare = (table["used"][slots] * _SPARE).astype(np.int64)
    target = np.minimum(target, spare + np.maximum(target - _FEW, 0))
    room = target - np.maximum(_held(table, slots), 0)
    room = np.where(room < full, room, room // full * full)
    due = room >= np.minimum(full, np.maximum(1, target // 2))
    due &= (now >= table["not_before"][slots]) & (table["wasted"][slots] <= _WASTED * table["used"][slots])
    # Less than a batch takes spares it no wait.
    due &= target >= counts
    return slots[due], room[due]


def ask(table: Rows, slots: Ints, counts: Ints) -> Ints:
    """Note that keys are under way; their slots stay until these come or fail. Returns the pools' generations."""
    if IS_LOADED:
        return np.frombuffer(extension.pool_ask(table.view(np.int64), slots, counts), np.int64)
    table["pending"][slots] += counts
    table["pins"][slots] += 1
    generations: Ints = table["generation"][slots]
    return generations


def came(table: Rows, slots: Ints, counts: Ints, generations: Ints) -> Flags:
    """Note that keys are under way no more; returns whether the pools are of the generations that they were for."""
    if IS_LOADED:
        return np.frombuffer(extension.pool_came(table.view(np.int64), slots, counts, generations), np.bool_)
    table["pins"][slots] -= 1
    table["pending"][slots] -= counts
    current: Flags = table["generation"][slots] == generations
    return current


def put(table: Rows, slots: Ints, counts: Ints, born: float) -> None:
    """Give pools keys that were asked for at `born`, so many each."""
    if IS_LOADED:
        extension.pool_put(table.view(np.int64), slots, counts, born)
        return
    table["available"][slots] += counts
    table["born"][slots] = np.minimum(table["born"][slots], born)


def weigh(table: Rows, slots: Ints, slot_bytes: int, key_bytes: int) -> tuple[int, int]:
    """
    State what pools take, by the keys that they have.

    Returns:
        By how many bytes that is more than before; and by how many in the small queue.
    """
    if IS_LOADED:
        return extension.pool_weigh(table.view(np.int64), slots, slot_bytes, key_bytes)
    change = slot_bytes + key_bytes * table["available"][slots] - table["weight"][slots]
    table["weight"][slots] += change
    return int(change.sum()), int(change[table["queue"][slots] == IN_SMALL].sum())


def _held(table: Rows, slots: Ints) -> Ints:
    """How many keys pools hold, or wait for, beyond what is wanted of them."""
    held: Ints = table["available"][slots] + table["pending"][slots] - table["wanted"][slots]
    return held


def _ints(slots: bytes, counts: bytes) -> tuple[Ints, Ints]:
    return np.frombuffer(slots, np.int64), np.frombuffer(counts, np.int64)
