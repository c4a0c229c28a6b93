"""What a key's context adds to its message: a leaf of the keyset's tree for each value; one that is out is refused."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence

from worker.authority.asked import Leaves
from worker.authority.erasure import shards
from worker.authority.erasure.epochs import Epochs
from worker.authority.erasure.tree import leaf_in
from worker.authority.material import KeysetSecrets, framed
from worker.authority.refusal import Refusal
from worker.authority.state import State
from worker.authority.store import Store
from worker.errors import ConfigError

RESERVED = ("zk-canary", "tree")
"""A value that can't be erased: the second canary's, which sees a wrong tree."""
ERASED = "subject_erased"
"""How a refusal begins where a value of the context has been erased."""
_MOST_LEAVES = 65_536
_MOST_PARTS = 512
"""Of at most some 60 kB each; to open one again takes as long as to find a few leaves in it."""
Value = tuple[str, str]


def position_of(secrets: KeysetSecrets, value: Value) -> int:
    """Return where a value's leaf lies: the same name and text are the same subject wherever they stand."""
    text = framed(b"value", value[0].encode(), value[1].encode())
    return int.from_bytes(hmac.digest(secrets.k_pos, text, "sha256")[:8])


def as_text(position: int) -> str:
    """Return a position as rows, the journal and the audit have it."""
    return f"{position:016x}"


def erased(values: Iterable[Value]) -> Refusal:
    """Return the refusal of keys whose context has values that were erased; these are told to who asked for them."""
    told = {"erased": [list(value) for value in values]}
    return Refusal(403, f"{ERASED}: the keys of this context have been erased in this keyset", more=told)


class Subjects:
    """
    Finds the leaves of contexts.

    Args:
        store: has the trees.
        epochs: open them.
    """

    def __init__(self, store: Store, epochs: Epochs) -> None:
        self.store, self.epochs = store, epochs

    def leaf(self, secrets: KeysetSecrets, value: Value) -> bytes | None:
        """Return a value's leaf, 32 bytes; None where it has been erased."""
        state, keyset = self.store.state, str(secrets.keyset)
        position = position_of(secrets, value)
        place = (keyset, as_text(position))
        if place in state.erasures:
            return None
        known = state.opened["erasures"].get(place)
        if isinstance(known, bytes):
            return known
        found = self._find(state, keyset, position)
        if found is not None:
            state.keep("erasures", place, found, _MOST_LEAVES)
        return found

    def finder(self, secrets: KeysetSecrets) -> Leaves | None:
        """Return what finds the framed leaves of a request's contexts, each once; None where nothing can be erased."""
        if not secrets.k_pos:
            return None
        found: dict[tuple[Value, ...], bytes | Refusal] = {}

        def find(values: Sequence[Value]) -> bytes:
            place = tuple(values)
            leaves = found.get(place)
            if leaves is None:
                try:
                    leaves = self.leaves(secrets, place)
                except Refusal as refusal:
                    leaves = refusal
                found[place] = leaves
            if isinstance(leaves, Refusal):
                raise leaves
            return leaves

        return find

    def leaves(self, secrets: KeysetSecrets, values: Iterable[Value]) -> bytes:
        """Return the framed leaves of a context's values, in order; raises a 403 that names those that are erased."""
        each = [(value, self.leaf(secrets, value)) for value in values]
        out = [value for value, leaf in each if leaf is None]
        if out:
            raise erased(out)
        return framed(*(leaf for _, leaf in each if leaf is not None))

    def canary(self, secrets: KeysetSecrets) -> bytes:
        """Return the framed leaf that no erasure takes out: what a backup's probe and readiness look at."""
        return self.leaves(secrets, [RESERVED]) if secrets.k_pos else b""

    def _find(self, state: State, keyset: str, position: int) -> bytes | None:
        row = shards.find(state.shards, keyset, position)
        if row is None:
            raise Refusal(503, "the keyset's tree lacks a part; restore the store")
        place = (keyset, row["prefix"])
        try:
            nodes = state.opened["shards"].get(place)
            if not isinstance(nodes, bytes):
                nodes = shards.nodes_of(row, shards.key_of_part(row, self.epochs.key_of(row["epoch"])))
                state.keep("shards", place, nodes, _MOST_PARTS)
            return leaf_in(row["prefix"], nodes, position)
        except ConfigError as exc:
            raise Refusal(503, f"the keyset's tree does not open: {exc}") from None
