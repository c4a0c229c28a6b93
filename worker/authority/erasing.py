"""Erasures: asked for, told of, ended by an epoch; and the expiry of backups, which hold what was erased after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.authority import schema, wire
from worker.authority.access import Caller
from worker.authority.datakeys import find_keyset, open_secrets
from worker.authority.erasure import shards
from worker.authority.erasure.epochs import OWN, Epochs, keys_of
from worker.authority.erasure.subjects import RESERVED, as_text, position_of
from worker.authority.refusal import Refusal
from worker.authority.store import Row, Store
from worker.authority.transaction import Transaction


class Erasing:
    """The administration of erasures."""

    def __init__(self, store: Store, epochs: Epochs) -> None:
        self._store, self._epochs = store, epochs

    def erase(self, caller: Caller, body: wire.Erase) -> dict[str, Any]:
        """Take values out of a keyset's tree; when this returns every replica refuses them."""
        caller.require_no_client()
        keyset, places = self._places(caller, body)
        if any(value[0] == RESERVED[0] for value in body.values):
            raise Refusal(400, f"the name {RESERVED[0]} is the canary's and is not erased")
        caller.note["what"] = {"names": sorted({name for name, _ in body.values}), "positions": [p for p, _ in places]}
        # Had before the write, which everybody else waits for: a command outside may take its time.
        for epoch in {part["epoch"] for part in shards.parts_of(self._store.state, keyset["id"])}:
            self._epochs.key_of(epoch)

        def write(transaction: Transaction) -> None:
            state = self._store.state
            # Not before a backup that it comes after, which with a clock put back would be said to hold nothing.
            at = max([self._epochs.clock(), *(row["made_at"] for row in keys_of(state, "backup"))])
            new = {text: position for text, position in places if (keyset["id"], text) not in state.erasures}
            for text, position in new.items():
                part = shards.find(state.shards, keyset["id"], position)
                if part is None:
                    raise Refusal(503, "the keyset's tree lacks a part; restore the store")
                row = {"keyset": keyset["id"], "position": text, "epoch": part["epoch"], "at": at}
                transaction.insert(schema.erasures, row)
            shards.take_out(transaction, state, keyset["id"], new.values(), self._epochs.key_of)

        self._store.write(write)
        return self._told(keyset, places)

    def show(self, caller: Caller, body: wire.Erase) -> dict[str, Any]:
        """Return which of some values are erased, since when, and whether they are gone."""
        caller.require_no_client()
        return self._told(*self._places(caller, body))

    def end_epoch(self, caller: Caller) -> dict[str, Any]:
        """End the epoch now, so that what was erased is gone."""
        self._require_all(caller)
        if self._epochs.holder is None:
            raise Refusal(409, "there is no key command: what is erased is refused, and never gone")
        found = self._epochs.move(lambda what: caller.note.update(what=what))
        caller.note["what"] = found
        return found

    def backups(self, caller: Caller) -> list[dict[str, Any]]:
        """List the keys of backups."""
        self._require_all(caller)
        rows = sorted(keys_of(self._store.state, "backup"), key=lambda row: float(row["made_at"]))
        return [{n: row[n] for n in ("name", "number", "made_at", "destroyed_at")} for row in rows]

    def expire(self, caller: Caller, body: wire.ExpireBackup) -> dict[str, Any]:
        """Destroy a backup's key: its trees open for nobody, and erasable keysets are not restored from it."""
        self._require_all(caller)
        row = next((r for r in keys_of(self._store.state, "backup") if r["name"] == body.name), None)
        if row is None:
            raise Refusal(404, "Backup not found")
        if row["destroyed_at"] is not None:
            return {"name": row["name"], "destroyed_at": row["destroyed_at"]}
        return {"name": row["name"], "destroyed_at": self._epochs.destroy(row)}

    def _places(self, caller: Caller, body: wire.Erase) -> tuple[Row, list[tuple[str, int]]]:
        keyset = find_keyset(self._store, caller.workspace, body.keyset_id)
        caller.note.update(keyset=keyset["id"], keyset_name=keyset["name"])
        caller.require_keyset(keyset["id"])
        if not keyset["erasable"]:
            raise Refusal(409, "the keyset is not erasable: that is decided when it is made, for good")
        secrets = open_secrets(self._store, keyset)
        positions = [position_of(secrets, value) for value in body.values]
        return keyset, [(as_text(position), position) for position in positions]

    def _require_all(self, caller: Caller) -> None:
        caller.require_no_client()
        if caller.rights.keysets is not None:
            raise Refusal(403, "Not permitted: this identity is narrowed to keysets, and epochs are the store's")

    def _told(self, keyset: Row, places: Sequence[tuple[str, int]]) -> dict[str, Any]:
        state = self._store.state
        rows = [(text, state.erasures.get((keyset["id"], text))) for text, _ in places]
        found = [{"position": text, **self._state_of(row)} for text, row in rows]
        since = max((row["at"] for _, row in rows if row is not None), default=None)
        live = [row for row in keys_of(state, "backup") if row["destroyed_at"] is None]
        holding = sorted(row["name"] for row in live if since is not None and row["made_at"] <= since)
        return {"keyset": keyset["id"], "claim": self._claim(keyset), "values": found, "backups": holding}

    def _claim(self, keyset: Row) -> str:
        return "gone" if keyset["erasable"] == "gone" else "refused"

    def _state_of(self, row: Row | None) -> dict[str, Any]:
        if row is None:
            return {"state": "kept"}
        state = {"state": "refused", "refused_at": row["at"], "gone_at": None}
        if row["epoch"] == OWN:
            return state
        until = [key for key in keys_of(self._store.state, "epoch") if key["number"] <= row["epoch"]]
        if all(key["destroyed_at"] is not None for key in until):
            state |= {"state": "gone", "gone_at": max(key["destroyed_at"] for key in until)}
        return state
