"""
The parts of erasable keysets' trees as rows: each under a key of its own, and that under its epoch's key.

Whoever takes a position out of a part seals what is left under the same key; the row of before, which a database keeps
for a while, opens with it too. So the next epoch gives such a part another key, and destroys what the old one is
sealed under.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from worker.authority import schema
from worker.authority.erasure.tree import Tree, bits
from worker.authority.seal import ROOT_BYTES, Sealer
from worker.authority.state import Row, State
from worker.authority.transaction import Transaction

MOST_ERASED = 32
"""A part with more positions taken out is halved: an erasure writes no more than 60 kB anew."""
KeyOf = Callable[[int], Sealer]
"""Returns the sealer under an epoch's key; 0 is the store's own, which is never destroyed."""
Place = tuple[str, str]


def new_part(keyset: str, epoch: int, sealer: Sealer) -> Row:
    """Return the row of a whole new tree."""
    return sealed(keyset, Tree.random(), os.urandom(ROOT_BYTES), epoch, sealer, sealed_in=epoch)


def sealed(keyset: str, tree: Tree, key: bytes, epoch: int, sealer: Sealer, *, sealed_in: int) -> Row:
    """Return a part's row."""
    return {
        "keyset": keyset,
        "prefix": tree.prefix,
        "sealed_in": sealed_in,
        "nodes": Sealer(key).seal(tree.to_bytes(), what=_nodes(keyset, tree.prefix)),
        "epoch": epoch,
        "key": sealer.seal(key, what=_key(keyset, tree.prefix, epoch)),
    }


def key_of_part(row: Mapping[str, Any], sealer: Sealer) -> bytes:
    """Open a part's own key, which is sealed under its epoch's."""
    return sealer.open(row["key"], what=_key(row["keyset"], row["prefix"], row["epoch"]))


def tree_of(row: Mapping[str, Any], key: bytes) -> Tree:
    """Open a part's tree."""
    return Tree.from_bytes(row["prefix"], nodes_of(row, key))


def nodes_of(row: Mapping[str, Any], key: bytes) -> bytes:
    """Open a part's tree as it was written."""
    return Sealer(key).open(row["nodes"], what=_nodes(row["keyset"], row["prefix"]))


def wrapped(row: Row, key: bytes, epoch: int, sealer: Sealer) -> Row:
    """Return what alters in a part's row when its key, which stays, is sealed under another one."""
    return {"epoch": epoch, "key": sealer.seal(key, what=_key(row["keyset"], row["prefix"], epoch))}


def find(shards: Mapping[Place, Row], keyset: str, position: int) -> Row | None:
    """Return the part that a position belongs to."""
    way = bits(position)
    for depth in range(len(way) + 1):
        row = shards.get((keyset, way[:depth]))
        if row is not None:
            return row
    return None


def parts_of(state: State, keyset: str) -> list[Row]:
    """Return all parts of a keyset's tree."""
    return [row for (owner, _), row in state.shards.items() if owner == keyset]


def take_out(transaction: Transaction, state: State, keyset: str, positions: Iterable[int], key_of: KeyOf) -> None:
    """Write the parts that some positions belong to without them; a part that lost many is halved."""
    touched: dict[str, list[int]] = {}
    rows: dict[str, Row] = {}
    for position in positions:
        row = find(state.shards, keyset, position)
        if row is not None:
            rows[row["prefix"]] = row
            touched.setdefault(row["prefix"], []).append(position)
    for prefix, out in touched.items():
        row = rows[prefix]
        sealer = key_of(row["epoch"])
        key = key_of_part(row, sealer)
        parts = small(tree_of(row, key).without(out))
        place = (keyset, prefix)
        if len(parts) == 1:
            new = sealed(keyset, parts[0], key, row["epoch"], sealer, sealed_in=row["epoch"])
            transaction.update(schema.shards, place, {name: new[name] for name in ("sealed_in", "nodes")})
            continue
        transaction.delete(schema.shards, place)
        for part in parts:
            transaction.insert(schema.shards, sealed(keyset, part, key, row["epoch"], sealer, sealed_in=row["epoch"]))


def small(tree: Tree) -> list[Tree]:
    """Return a part in parts that have lost no more than `MOST_ERASED`."""
    if len(tree.erased) <= MOST_ERASED:
        return [tree]
    return [part for half in tree.halves() for part in small(half)]


def _key(keyset: str, prefix: str, epoch: int) -> str:
    return f"shard/{keyset}/{prefix}/{epoch}"


def _nodes(keyset: str, prefix: str) -> str:
    return f"nodes/{keyset}/{prefix}"
