"""Keysets and grants: made, listed, changed, granted, revoked."""

from __future__ import annotations

import os
from functools import partial
from typing import Any
from uuid import uuid4

from worker.authority import schema, wire
from worker.authority.access import Caller
from worker.authority.datakeys import find_keyset, public_keyset
from worker.authority.erasure.epochs import Epochs, Planting
from worker.authority.escrow import ServerMadeClients
from worker.authority.refusal import Refusal
from worker.authority.relation import relation_of, share_of
from worker.authority.store import Row, Store
from worker.authority.transaction import Transaction
from worker.zerokms.derive import Permutations


def new_keyset(
    store: Store, workspace: str, name: str, description: str, *, is_default: bool = False, erasable: str | None = None
) -> dict[str, Any]:
    """
    Return a row of a new keyset with secrets and a share of its own; nobody holds the other half's product.

    Of an erasable one `erasable` says what may be claimed of what is erased in it: "gone" or only "refused".
    """
    keyset = str(uuid4())
    seal = store.sealer.seal
    return {
        "id": keyset,
        "workspace": workspace,
        "name": name,
        "description": description,
        "is_disabled": False,
        "is_default": is_default,
        "secrets": seal(os.urandom(64 if erasable is None else 96), what=f"keyset/{keyset}"),
        "root_share": seal(Permutations.random().to_cbor(), what=f"root/{keyset}"),
        "erasable": erasable,
    }


class Keysets:
    """The administration of keysets."""

    def __init__(self, store: Store, server_made: ServerMadeClients, epochs: Epochs) -> None:
        self._store = store
        self._epochs = epochs
        self._server_made = server_made

    def create(self, caller: Caller, body: wire.CreateKeyset) -> dict[str, Any]:
        """Make a keyset, and a client for it where asked and allowed; raises a 409 for a name that is taken."""
        if caller.rights.keysets is not None:
            raise Refusal(403, "Not permitted: this identity is narrowed to keysets and makes none")
        if body.client is not None:
            self._server_made.require(caller)
        self._check_name(caller, body.name)
        claim = None if not body.erasable else "refused" if self._epochs.holder is None else "gone"
        row = new_keyset(self._store, caller.workspace, body.name, body.description, erasable=claim)
        caller.note["made"] = row["id"]
        if body.client is not None:
            if body.erasable:
                raise Refusal(400, "an erasable keyset is made by itself: then grant it to a client")
            return {**public_keyset(row), "client": self._server_made.create_with(caller, row, body.client.name)}
        # Before the write, which everybody else waits for: a command outside may take its time.
        under = self._epochs.planting() if body.erasable else None
        self._store.write(partial(self._insert, row, under))
        return public_keyset(row)

    def list(self, caller: Caller, body: wire.ListKeysets) -> list[dict[str, Any]]:
        """List the workspace's keysets."""
        return [
            public_keyset(row)
            for row in self._store.state.keysets.values()
            if row["workspace"] == caller.workspace
            and (body.show_disabled or not row["is_disabled"])
            and (caller.rights.keysets is None or row["id"] in caller.rights.keysets)
        ]

    def modify(self, caller: Caller, body: wire.ModifyKeyset) -> dict[str, Any]:
        """Rename or describe a keyset."""
        row = self._find(caller, body.keyset_id)
        changes = {k: v for k, v in (("name", body.name), ("description", body.description)) if v is not None}
        if body.name is not None and body.name != row["name"]:
            self._check_name(caller, body.name)
        return self._change(row["id"], changes)

    def enable(self, caller: Caller, body: wire.OneKeyset) -> dict[str, Any]:
        """Let a keyset be used again."""
        return self._change(self._find(caller, body.keyset_id)["id"], {"is_disabled": False})

    def disable(self, caller: Caller, body: wire.OneKeyset) -> dict[str, Any]:
        """Refuse every derivation of a keyset from the next request on."""
        return self._change(self._find(caller, body.keyset_id)["id"], {"is_disabled": True})

    def grant(self, caller: Caller, body: wire.ClientKeyset) -> dict[str, Any]:
        """Give an active client its share of a keyset; a bound caller would give itself more than it has."""
        caller.require_no_client()
        keyset, client = self._find(caller, body.keyset_id), str(body.client_id)
        row = self._store.state.clients.get(client)
        if row is None or row["workspace"] != caller.workspace or row["state"] != "active":
            raise Refusal(404, "Client not found")
        if (client, keyset["id"]) in self._store.state.grants:
            raise Refusal(409, "already granted")
        share = share_of(self._store, keyset, relation_of(self._store, row))
        sealed = self._store.sealer.seal(share.to_cbor(), what=f"grant/{client}/{keyset['id']}")
        values = {"client": client, "keyset": keyset["id"], "share": sealed}
        self._store.write(lambda t: t.insert(schema.grants, values))
        return {}

    def revoke(self, caller: Caller, body: wire.ClientKeyset) -> dict[str, Any]:
        """Drop a client's share of a keyset."""
        keyset, client = self._find(caller, body.keyset_id), str(body.client_id)
        caller.require_client(client)
        if (client, keyset["id"]) not in self._store.state.grants:
            raise Refusal(404, "Keyset not granted to this client")
        self._store.write(lambda t: t.delete(schema.grants, (client, keyset["id"])))
        return {}

    def _insert(self, row: Row, under: Planting | None, transaction: Transaction) -> None:
        transaction.insert(schema.keysets, row)
        if under is not None:
            self._epochs.plant(transaction, row["id"], under)

    def _find(self, caller: Caller, ref: wire.KeysetRef) -> Row:
        keyset = find_keyset(self._store, caller.workspace, ref)
        caller.require_keyset(keyset["id"])
        caller.note.update(keyset=keyset["id"], keyset_name=keyset["name"])
        return keyset

    def _check_name(self, caller: Caller, name: str) -> None:
        if name.lower() == "default":
            raise Refusal(400, "the name default is reserved")
        for row in self._store.state.keysets.values():
            if row["workspace"] == caller.workspace and row["name"] == name:
                raise Refusal(409, "a keyset of this name exists")

    def _change(self, keyset: str, changes: dict[str, Any]) -> dict[str, Any]:
        if changes:
            self._store.write(lambda t: t.update(schema.keysets, keyset, changes))
        return {}
