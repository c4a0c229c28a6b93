"""
Trees in backups, and out of them again.

A backup seals the key of every part under a key of the backup's own, so that it outlives the epochs; that key's
destruction is its end. A restore takes the parts from the backup, or from the journal where a keyset is younger, takes
out of them what was erased since, and seals all of it anew under an epoch of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from worker.authority.erasure import shards
from worker.authority.erasure.epochs import OWN
from worker.authority.erasure.keyholder import KeyHolder
from worker.authority.erasure.tree import Tree
from worker.authority.seal import ROOT_BYTES, Sealer
from worker.authority.state import Row
from worker.errors import ConfigError

Tables = dict[str, dict[Any, Row]]


class HeldForADrill:
    """A `KeyHolder` that gives what another has, and makes and destroys nothing there."""

    destroys = True

    def __init__(self, holder: KeyHolder) -> None:
        self._holder = holder
        self._made: dict[str, bytes] = {}

    def create(self, name: str) -> bytes:
        """Make a key that lives as long as this object."""
        return self._made.setdefault(name, os.urandom(ROOT_BYTES))

    def get(self, name: str) -> bytes:
        """Return a key."""
        return self._made.get(name) or self._holder.get(name)

    def destroy(self, name: str) -> None:
        """Forget a key that was made here."""
        self._made.pop(name, None)


class Replanting:
    """
    Makes the trees of a store that is restored.

    Args:
        tables: of the backup and the journal since; altered in place by `plant`.
        backed_up: the parts as the backup has them.
        own: the store's own sealer of trees.
        holder: keeps keys outside the store; None where no tree is under one.
        backup_key: the name of the key that the backup's parts are under.
        now: seconds since 1970.
    """

    def __init__(
        self,
        tables: Tables,
        backed_up: Mapping[Any, Row],
        own: Sealer,
        holder: KeyHolder | None,
        backup_key: str | None,
        now: float,
    ) -> None:
        self._tables, self._backed_up, self._own = tables, backed_up, own
        self._holder, self._now = holder, now
        self._epochs = [row for row in tables["wrapping_keys"].values() if row["kind"] == "epoch"]
        self._backup = None if backup_key is None else self._sealer(backup_key)
        self._by_epoch: dict[int, Sealer | None] = {}

    def plant(self, region: str) -> None:
        """
        Seal every part anew, without what was erased.

        Raises:
            ConfigError: a tree opens neither with the backup's key nor with its epoch's.
        """
        keysets = {key: row for key, row in self._tables["keysets"].items() if row["erasable"]}
        if not keysets:
            return
        opened = {key: self._opened(key) for key in keysets}
        number, sealer = OWN, self._own
        if any(row["erasable"] == "gone" for row in keysets.values()):
            number, sealer = self._new_epoch(region)
        parts: dict[Any, Row] = {}
        for key, trees in opened.items():
            under = (number, sealer) if keysets[key]["erasable"] == "gone" else (OWN, self._own)
            out = [int(position, 16) for owner, position in self._tables["erasures"] if owner == key]
            for tree in (part for each in trees for part in shards.small(each.without(out))):
                fresh = os.urandom(ROOT_BYTES)
                parts[key, tree.prefix] = shards.sealed(key, tree, fresh, *under, sealed_in=under[0] - 1)
        self._tables["shards"] = parts

    def _new_epoch(self, region: str) -> tuple[int, Sealer]:
        if self._holder is None:
            raise ConfigError("erasable keysets are under keys of a key command: give --epoch-key-command")
        number = max((row["number"] for row in self._epochs), default=OWN) + 1
        name = f"epoch-{region}-{number}-{os.urandom(6).hex()}"
        sealer = Sealer(self._holder.create(name))
        row = {"name": name, "kind": "epoch", "number": number, "made_at": self._now, "destroyed_at": None}
        self._tables["wrapping_keys"][name] = row
        return number, sealer

    def _opened(self, keyset: str) -> list[Tree]:
        """Open a keyset's parts as they were last, or, where a key of these is not to be had, as backed up."""
        for parts in (self._tables["shards"], self._backed_up):
            rows = [row for (owner, _), row in parts.items() if owner == keyset]
            trees = [self._tree(row) for row in rows]
            if trees and all(tree is not None for tree in trees):
                return [tree for tree in trees if tree is not None]
        raise ConfigError(
            f"the tree of keyset {keyset} does not open: the backup's key has been destroyed, or is not to be had "
            "(--epoch-key-command)"
        )

    def _tree(self, row: Row) -> Tree | None:
        for sealer in self._sealers(row["epoch"]):
            try:
                return shards.tree_of(row, shards.key_of_part(row, sealer))
            except ConfigError:
                continue
        return None

    def _sealers(self, epoch: int) -> Iterator[Sealer]:
        if epoch == OWN:
            yield self._own
            return
        if self._backup is not None:
            yield self._backup
        if epoch not in self._by_epoch:
            name = next((row["name"] for row in self._epochs if row["number"] == epoch), None)
            self._by_epoch[epoch] = None if name is None else self._sealer(name)
        known = self._by_epoch[epoch]
        if known is not None:
            yield known

    def _sealer(self, name: str) -> Sealer | None:
        try:
            return None if self._holder is None else Sealer(self._holder.get(name))
        except ConfigError:
            return None


def for_backup(row: Row, old: Sealer, new: Sealer) -> Row:
    """Return a part's row with its key under a backup's."""
    return {**row, **shards.wrapped(row, shards.key_of_part(row, old), row["epoch"], new)}
