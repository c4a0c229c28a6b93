"""
What of a write the journal keeps where trees are concerned.

Of an erasure: its positions. The parts that it was taken out of lie under keys that an epoch destroys, so a journal of
them would be long and of no use; a restore takes the positions out anew. Of an epoch's end: the parts that the epoch
touched, and of the others their key under the new epoch's. Of a new keyset: its tree, under the epoch's key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worker.authority.state import Changed, Key, Row


def journaled(changes: Sequence[Changed]) -> list[Changed]:
    """Return the changes as the journal has them."""
    is_erasure = any(change.table.name == "erasures" for change in changes)
    return [_kept(change) for change in changes if change.table.name != "shards" or not is_erasure]


def _kept(change: Changed) -> Changed:
    row = change.row
    if change.table.name != "shards" or row is None or row["sealed_in"] >= row["epoch"] - 1:
        return change
    return Changed(change.table, change.key, {**row, "nodes": b""})


def replayed(parts: dict[Key, Row], changes: Iterable[Changed]) -> None:
    """Bring the parts of trees to what an end of an epoch, or a new keyset, left of them."""
    written = [change.row for change in changes if change.table.name == "shards" and change.row is not None]
    for row in written:
        keyset, prefix = place = (row["keyset"], row["prefix"])
        for depth in range(len(prefix)):
            # It has been halved since.
            parts.pop((keyset, prefix[:depth]), None)
        known = parts.get(place)
        if row["nodes"]:
            parts[place] = row
        elif known is not None:
            parts[place] = {**row, "nodes": known["nodes"]}
