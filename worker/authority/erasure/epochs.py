"""
Epochs: from one to the next every part's key is sealed under another key, and the one of before is destroyed.

What was erased in an epoch is gone with that epoch's key: the parts that it was taken out of have new keys by then, and
whatever the database still keeps of the old ones is sealed under what no longer exists.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from worker.authority import schema
from worker.authority.erasure import shards
from worker.authority.erasure.keyholder import KeyHolder
from worker.authority.refusal import Refusal
from worker.authority.seal import ROOT_BYTES, Sealer
from worker.authority.state import Row, State
from worker.authority.store import Store
from worker.authority.transaction import Transaction
from worker.errors import ConfigError, WorkerError

_log = structlog.get_logger(__name__)
AGAIN_S = 1.0
"""How long after a key was not to be had the command is not asked again, however many ask for keys."""
LOOK_S = 60.0
"""How often it is looked whether an epoch is old enough, and whether a key is still to be destroyed."""
OWN = 0
"""The epoch of trees under the store's own key, which no epoch ends: what is erased there is refused, and not gone."""


@dataclass(frozen=True, slots=True)
class Planting:
    """An epoch that a tree is planted in: its number, what seals under its key, and its row where it is the first."""

    number: int
    sealer: Sealer
    first: Row | None


class Epochs:
    """
    The epochs of one store.

    Args:
        store: whose.
        holder: keeps the epochs' keys outside; None: new erasable keysets are under the store's own.
        clock: seconds since 1970.
    """

    def __init__(self, store: Store, holder: KeyHolder | None, clock: Callable[[], float] = time.time) -> None:
        self.holder, self.clock = holder, clock
        self._store = store
        self._own = Sealer(store.derived(b"trees"))
        self._known: tuple[str, Sealer] | None = None
        self._failed: tuple[str, float] = ("", 0.0)
        self._moving = threading.Lock()
        if holder is None and any(row["destroyed_at"] is None for row in keys_of(store.state, "epoch")):
            raise ConfigError("the store's erasable keysets are under keys of a key command: give --epoch-key-command")

    @property
    def current(self) -> int:
        """The number of the epoch that new erasures belong to; 0 where there has been none."""
        return max((row["number"] for row in keys_of(self._store.state, "epoch")), default=OWN)

    def key_of(self, number: int) -> Sealer:
        """Return the sealer under an epoch's key; raises a 503 where the key is not to be had."""
        if number == OWN:
            return self._own
        name = next((r["name"] for r in keys_of(self._store.state, "epoch") if r["number"] == number), "")
        known = self._known
        if known is not None and known[0] == name:
            return known[1]
        refusal = Refusal(503, f"the key of epoch {number} is not to be had: is the key command at work?")
        if self._failed[0] == name and time.monotonic() < self._failed[1]:
            raise refusal
        try:
            if self.holder is None or not name:
                raise ConfigError(f"nobody holds the key of epoch {number}")
            sealer = Sealer(self.holder.get(name))
        except ConfigError as exc:
            _log.error("epoch_key_unavailable", epoch=number, cause=str(exc))
            self._failed = (name, time.monotonic() + AGAIN_S)
            raise refusal from None
        self._known = (name, sealer)
        return sealer

    def planting(self) -> Planting:
        """Return what a new keyset's tree goes under, a first epoch where there is none; the command runs here."""
        if self.holder is None:
            return Planting(OWN, self._own, None)
        number = self.current
        if number:
            return Planting(number, self.key_of(number), None)
        row, sealer = self._make("epoch", OWN + 1)
        return Planting(OWN + 1, sealer, row)

    def plant(self, transaction: Transaction, keyset: str, under: Planting) -> None:
        """Write a new keyset's tree within the write of the keyset; raises a 409 where an epoch has ended since."""
        if self.holder is not None and self.current != (under.number if under.first is None else OWN):
            raise Refusal(409, "another request was faster")
        if under.first is not None:
            transaction.insert(schema.wrapping_keys, under.first)
        transaction.insert(schema.shards, shards.new_part(keyset, under.number, under.sealer))

    def move(
        self, told: Callable[[dict[str, Any]], None], *, always: bool = False, older_than_s: float = 0.0
    ) -> dict[str, Any]:
        """
        End the epoch where something was erased in it, and destroy the keys of those that have ended.

        Args:
            told: what is being written, for the audit's line of it; called within the write, so that neither is alone.
            always: end it whether or not anything was erased.
            older_than_s: end none that began later; how long ago is told by the store, whoever has been started since.

        Raises:
            Refusal: 503, the new key can't be made, or an old one not be destroyed: that is tried again.
        """
        if self.holder is None:
            return {"moved": False, "destroyed": [], "epoch": OWN}
        with self._moving:
            # Another replica may have erased, or ended it, and nobody have asked this one since.
            self._store.refresh()
            number = self.current
            if self._store.head.lock:
                # Restored, and nobody has said yet that it is to go on: the store that it was made of may live.
                return {"moved": False, "destroyed": [], "epoch": number}
            is_due = any(row["epoch"] == number for row in self._store.state.erasures.values())
            # A clock that was put back must not keep it for ever.
            is_due = is_due and abs(self.clock() - self._begun(number)) >= older_than_s
            moved = bool(number) and (is_due or always)
            if moved:
                self._end(number, told)
            return {"moved": moved, "destroyed": self._destroy_ended(told), "epoch": self.current}

    def backup_key(self, label: str) -> tuple[str, Sealer] | None:
        """Make and note a key for the trees of a backup; None where none of them is under a key outside the store."""
        if self.holder is None or not self.current:
            return None
        row, sealer = self._make("backup", self._store.head.version, label)
        # A step of the backup, which has a line of the audit's own.
        Context().run(self._store.write, lambda t: t.insert(schema.wrapping_keys, row))
        return row["name"], sealer

    def expire(self, label: str) -> None:
        """Destroy the keys of backups with a label."""
        for row in keys_of(self._store.state, "backup"):
            if row["destroyed_at"] is None and row["name"].startswith(f"backup-{self._store.region}-{label}-"):
                self.destroy(row)

    def destroy(self, row: Row, told: Callable[[dict[str, Any]], None] = lambda _what: None) -> float:
        """Destroy one key and note when, `told` within that write; raises a 503 where it is still to be had."""
        if self.holder is None:
            raise Refusal(409, "there is no key command: no key lies outside the store")
        try:
            self.holder.destroy(row["name"])
        except ConfigError as exc:
            raise Refusal(503, str(exc)) from None
        at = self.clock()

        def write(transaction: Transaction) -> None:
            transaction.update(schema.wrapping_keys, row["name"], {"destroyed_at": at})
            told({"destroyed": row["name"]})

        self._store.write(write)
        return at

    def _begun(self, number: int) -> float:
        return next((float(r["made_at"]) for r in keys_of(self._store.state, "epoch") if r["number"] == number), 0.0)

    def _make(self, kind: str, number: int, label: str = "") -> tuple[Row, Sealer]:
        assert self.holder is not None
        name = f"{kind}-{self._store.region}-{label or number}-{os.urandom(6).hex()}"
        try:
            sealer = Sealer(self.holder.create(name))
        except ConfigError as exc:
            _log.error("key_creation_failed", cause=str(exc))
            raise Refusal(503, "the key command makes no key") from None
        return {"name": name, "kind": kind, "number": number, "made_at": self.clock(), "destroyed_at": None}, sealer

    def _end(self, number: int, told: Callable[[dict[str, Any]], None]) -> None:
        old = self.key_of(number)
        row, new = self._make("epoch", number + 1)

        def write(transaction: Transaction) -> None:
            state = self._store.state
            if self.current != number:
                raise Refusal(409, "another replica has ended the epoch")
            transaction.insert(schema.wrapping_keys, row)
            for part in (part for part in state.shards.values() if part["epoch"] == number):
                place = (part["keyset"], part["prefix"])
                transaction.update(schema.shards, place, moved(part, old, new, number + 1))
            told({"ended": number, "begun": number + 1, "key": row["name"]})

        self._store.write(write)

    def _destroy_ended(self, told: Callable[[dict[str, Any]], None]) -> list[str]:
        ended = [r for r in keys_of(self._store.state, "epoch") if r["number"] < self.current]
        due = [row for row in ended if row["destroyed_at"] is None]
        for row in due:
            self.destroy(row, told)
        return [row["name"] for row in due]


def moved(part: Row, old: Sealer, new: Sealer, epoch: int) -> Row:
    """Return what alters in a part's row when its epoch ends: where that touched it, everything."""
    key = shards.key_of_part(part, old)
    if part["sealed_in"] != epoch - 1:
        return shards.wrapped(part, key, epoch, new)
    # Sealed as of the epoch that ended: in the new one nothing has touched it yet.
    whole = shards.sealed(
        part["keyset"], shards.tree_of(part, key), os.urandom(ROOT_BYTES), epoch, new, sealed_in=epoch - 1
    )
    return {name: whole[name] for name in ("sealed_in", "nodes", "epoch", "key")}


def keys_of(state: State, kind: str) -> list[Row]:
    """Return the keys that lie outside the store, of one kind."""
    return [row for row in state.tables["wrapping_keys"].values() if row["kind"] == kind]


class EpochClock:
    """
    Ends each epoch in which something was erased once it is old enough, until closed.

    Args:
        epochs: whose.
        every_s: how old; until then what was erased is refused and not gone.
        record: writes a line of the audit.
    """

    def __init__(self, epochs: Epochs, every_s: float, record: Callable[[dict[str, Any]], object]) -> None:
        self._epochs, self._every_s, self._record = epochs, every_s, record
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="epochs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End no more."""
        self._ending.set()
        self._thread.join()

    def _told(self, what: dict[str, Any]) -> None:
        self._record({"operation": "end-epoch", "outcome": "allowed", "what": what})

    def _run(self) -> None:
        while not self._ending.wait(min(self._every_s, LOOK_S)):
            try:
                self._epochs.move(self._told, older_than_s=self._every_s)
            except (Refusal, WorkerError, SQLAlchemyError) as exc:
                # Keys go on and what is erased stays refused; when it is gone is what waits.
                _log.error("epoch_failed", cause=type(exc).__name__ if isinstance(exc, SQLAlchemyError) else str(exc))
