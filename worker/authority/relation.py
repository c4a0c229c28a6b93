"""
Relations: how a client's share of any keyset follows from the keyset's root share.

For a keyset with root share B, `A = B then r` for p1 and p3, and p2 is the client's own; r is the client's relation,
kept sealed and deleted with the client. A relation is held as a Permutations (r.p1, the client's p2, r.p3).
"""

from __future__ import annotations

import numpy as np

from worker.authority import wire
from worker.authority.refusal import Refusal
from worker.authority.store import Row, Store
from worker.errors import ConfigError
from worker.zerokms.derive import Permutations, then


def read_relation(relation: wire.Relation, p2: list[int]) -> Permutations:
    """Read a relation from the wire; raises a 400 where a list is no permutation."""
    try:
        return Permutations(*(np.array(p, dtype=np.uint8) for p in (relation.p1, p2, relation.p3)))
    except (ConfigError, ValueError, OverflowError):
        raise Refusal(400, "p1, p2 and p3 are permutations of 16, 16 and 33") from None


def compose(first: Permutations, second: Permutations) -> Permutations:
    """Return `first then second`, with the second's p2."""
    return Permutations(then(first.p1, second.p1), second.p2, then(first.p3, second.p3))


def relation_of(store: Store, client: Row) -> Permutations:
    """Open a client's relation."""
    return Permutations.from_cbor(store.sealer.open(client["relation"], what=f"relation/{client['id']}"))


def root_share(store: Store, keyset: Row) -> Permutations:
    """Open a keyset's root share."""
    return Permutations.from_cbor(store.sealer.open(keyset["root_share"], what=f"root/{keyset['id']}"))


def share_of(store: Store, keyset: Row, relation: Permutations) -> Permutations:
    """Compute a client's share of a keyset."""
    return compose(root_share(store, keyset), relation)
