"""Clients: listed and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from worker.authority import schema, wire
from worker.authority.access import Caller
from worker.authority.datakeys import find_keyset
from worker.authority.refusal import Refusal
from worker.authority.store import Row, State, Store
from worker.authority.transaction import Transaction

LIMITS = ("generate_per_minute", "retrieve_per_minute", "needs_reason")
"""What one client may be held to, apart from the others."""


class Clients:
    """The administration of clients."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self, caller: Caller, body: wire.ListClients) -> list[dict[str, Any]]:
        """List the workspace's clients, or those granted one keyset; a bound caller sees its own."""
        state = self._store.state
        only = find_keyset(self._store, caller.workspace, body.keyset_id)["id"] if body.keyset_id else None
        held: dict[str, list[str]] = {}
        for client, keyset in state.grants:
            held.setdefault(client, []).append(keyset)
        return [
            public_client(row) | {k: row[k] for k in LIMITS} | {"keyset_id": held.get(row["id"], [])}
            for row in state.clients.values()
            if row["workspace"] == caller.workspace
            and caller.rights.client in (None, row["id"])
            and (only is None or only in held.get(row["id"], ()))
        ]

    def limit(self, caller: Caller, body: wire.ClientLimits) -> dict[str, Any]:
        """Hold a client to quotas of its own, or to reasons; a bound caller would hold itself to less."""
        caller.require_no_client()
        row = find_client(self._store.state, caller, body.client_id)
        require_reach(self._store.state, caller, row)
        changes = body.model_dump(include=set(LIMITS) & body.model_fields_set)
        if changes:
            self._store.write(lambda t: t.update(schema.clients, row["id"], changes))
        return public_client(row) | {k: changes.get(k, row[k]) for k in LIMITS}

    def delete(self, caller: Caller, body: wire.DeleteClient) -> dict[str, Any]:
        """Delete a client with its shares and its relation; those enrolled through it stay unless `cascade` says so."""
        doomed: list[str] = []

        def change(transaction: Transaction) -> None:
            # By what the store has within the write: two that delete at once may not take the last ones together.
            state = self._store.state
            doomed[:] = self._doomed(state, caller, body)
            caller.note["deleted"] = doomed
            for client in doomed:
                for place in [g for g in state.grants if g[0] == client]:
                    transaction.delete(schema.grants, place)
            for client in doomed:
                transaction.delete(schema.clients, client)

        self._store.write(change)
        return {"deleted": doomed}

    def _doomed(self, state: State, caller: Caller, body: wire.DeleteClient) -> Sequence[str]:
        """Return whom a deletion takes; raises a 409 where these are the last and it is not said."""
        first = find_client(state, caller, body.client_id)
        doomed = [first["id"], *(_descendants(state, first["id"]) if body.cascade else ())]
        if body.cascade:
            caller.require_no_client()
        caller.require_client(first["id"])
        for client in doomed:
            require_reach(state, caller, state.clients[client])
        alive = [c for c in state.clients.values() if c["workspace"] == caller.workspace and c["state"] == "active"]
        last = {c["id"] for c in alive} <= set(doomed) and first["state"] == "active"
        escrow = state.workspaces[caller.workspace]["escrow"] is not None
        if last and not escrow and body.last != first["name"]:
            raise Refusal(
                409,
                "this deletes the workspace's last client: everything that was ever encrypted in it is lost for ever, "
                "to everybody; say the client's name as `last` to do it",
            )
        return doomed


def find_client(state: State, caller: Caller, client: UUID | str) -> Row:
    """Find a client of the caller's workspace; raises a 404."""
    row = state.clients.get(str(client))
    if row is None or row["workspace"] != caller.workspace:
        raise Refusal(404, "Client not found")
    return row


def require_reach(state: State, caller: Caller, client: Row) -> None:
    """Raise a 403 where a caller that is narrowed to keysets would change a client that has others."""
    if caller.rights.keysets is not None:
        held = (keyset for owner, keyset in state.grants if owner == client["id"])
        for keyset in (client["default_keyset"], *held):
            caller.require_keyset(keyset)


def public_client(row: Row) -> dict[str, Any]:
    """Return a client as the wire has it, without its keysets."""
    return {k: row[k] for k in ("id", "name", "description", "created_by", "via", "region", "state")}


def _descendants(state: State, client: str) -> list[str]:
    """Return those that were enrolled through a client, those through these, and so on; however long the line is."""
    children: dict[str, list[str]] = {}
    for row in state.clients.values():
        children.setdefault(row["via"] or "", []).append(row["id"])
    found = [client]
    for each in found:
        found += children.get(each, ())
    return found[1:]
