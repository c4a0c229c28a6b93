"""CTS management: workspaces and access keys (protocol 3.4)."""

from __future__ import annotations

import base64
import os
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from worker.authority import rights, schema, wire
from worker.authority.access import Caller, new_access_key
from worker.authority.clients import find_client
from worker.authority.keysets import new_keyset
from worker.authority.refusal import Refusal
from worker.authority.rights import Rights
from worker.authority.store import Row, Store
from worker.authority.transaction import Transaction


def new_workspace(store: Store, name: str, *, alone: bool = False) -> str:
    """Make a workspace with its default keyset; return its id. Raises a 409 where it is to be alone and is not."""
    workspace = base64.b32encode(os.urandom(10)).decode()
    keyset = new_keyset(store, workspace, "default", "the workspace's default", is_default=True)

    def change(transaction: Transaction) -> None:
        if alone and store.state.workspaces:
            raise Refusal(409, "another request was faster")
        transaction.insert(schema.workspaces, {"id": workspace, "name": name, "enrolled": False})
        transaction.insert(schema.keysets, keyset)

    store.write(change)
    return workspace


@dataclass(frozen=True, slots=True)
class Narrowing:
    """
    What an access key may do of its role's; None narrows nothing.

    Args:
        scopes: of the role's.
        client: the one that it derives keys for.
        keysets: all that it reaches, by id.
    """

    scopes: list[str] | None = None
    client: str | None = None
    keysets: list[str] | None = None


_WHOLE = Narrowing()


def make_access_key(
    store: Store,
    workspace: str,
    name: str,
    role: str,
    narrowing: Narrowing = _WHOLE,
) -> str:
    """Make an access key; return it, the only time it is seen."""
    if any(k["workspace"] == workspace and k["name"] == name for k in store.state.access_keys.values()):
        raise Refusal(409, "an access key of this name exists")
    key_id, text, hashed = new_access_key()
    row = {
        "id": key_id,
        "workspace": workspace,
        "name": name,
        "role": role,
        "scopes": rights.narrowed(role, narrowing.scopes),
        "client": narrowing.client,
        "keysets": narrowing.keysets,
        "secret_hash": hashed,
        "created_at": time.time(),
    }
    store.write(lambda t: t.insert(schema.access_keys, row))
    return text


class Management:
    """What an admin does at CTS with workspaces and access keys."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list_access_keys(self, caller: Caller) -> list[dict[str, Any]]:
        """List the workspace's access keys, without their secrets; a bound caller sees those of its client."""
        rows = [r for r in self._store.state.access_keys.values() if r["workspace"] == caller.workspace]
        return [
            {
                "keyId": r["id"],
                "workspaceId": r["workspace"],
                "keyName": r["name"],
                "createdAt": r["created_at"],
                "lastUsedAt": r["last_used_at"],
                "role": r["role"],
                "scopes": r["scopes"],
                "client": r["client"],
                "keysets": r["keysets"],
            }
            for r in rows
            if caller.rights.client in (None, r["client"])
        ]

    def create_access_key(self, caller: Caller, body: wire.CreateAccessKey) -> dict[str, Any]:
        """Make an access key with no more than the caller's own rights."""
        own_workspace(caller, body.workspaceId)
        scopes = rights.narrowed(body.role, body.scopes)
        client, keysets = reach(self._store, caller, body.client, body.keysets)
        caller.require_to_cover(Rights.of(body.role, scopes, client, keysets))
        narrowing = Narrowing(scopes, client, keysets)
        text = make_access_key(self._store, caller.workspace, body.keyName, body.role, narrowing)
        caller.note["made"] = text.partition(".")[0]
        return {"accessKey": text}

    def bind_access_key(self, caller: Caller, body: wire.BindAccessKey) -> dict[str, Any]:
        """Give an access key its one client, once: a token of it has derived, and will derive, for no other."""
        own_workspace(caller, body.workspaceId)
        row = self._named(caller, body.keyName)
        client, _ = reach(self._store, caller, body.client, None)
        if row["client"] is not None:
            raise Refusal(409, "the access key is bound to a client already; make another one")
        caller.require_to_cover(Rights.of(row["role"], row["scopes"], client, row["keysets"]))
        caller.note["made"] = row["id"]
        values = {"client": client}
        self._store.write(lambda t: t.update(schema.access_keys, row["id"], values, expect={"client": None}))
        return {"keyName": row["name"], "client": client}

    def delete_access_key(self, caller: Caller, body: wire.DeleteAccessKey) -> dict[str, Any]:
        """Delete an access key; tokens issued for it stop at the next request."""
        own_workspace(caller, body.workspaceId)
        row = self._named(caller, body.keyName)
        if caller.rights.client is not None:
            caller.require_client(row["client"] or "")
        caller.note["made"] = row["id"]
        self._store.write(lambda t: t.delete(schema.access_keys, row["id"]))
        return {"message": "deleted"}

    def list_workspaces(self, caller: Caller) -> list[dict[str, Any]]:
        """List the caller's workspace."""
        row = self._store.state.workspaces[caller.workspace]
        return [{"id": row["id"], "name": row["name"], "region": f"{self._store.region}.aws"}]

    def _named(self, caller: Caller, name: str) -> Row:
        for row in self._store.state.access_keys.values():
            if row["workspace"] == caller.workspace and row["name"] == name:
                return row
        raise Refusal(404, "Access key not found")


def own_workspace(caller: Caller, workspace: str | None) -> None:
    """Raise a 403 where a body names another workspace."""
    if workspace is not None and workspace != caller.workspace:
        raise Refusal(403, "Not permitted: the token is another workspace's")


def reach(
    store: Store, caller: Caller, client: UUID | None, keysets: list[UUID] | None
) -> tuple[str | None, list[str] | None]:
    """Return the client and the keysets that an identity is to have; raises a 404 where one is not there."""
    if client is not None:
        find_client(store.state, caller, client)
    names = None if keysets is None else sorted({str(k) for k in keysets})
    for name in names or ():
        row = store.state.keysets.get(name)
        if row is None or row["workspace"] != caller.workspace:
            raise Refusal(404, "Keyset not found")
    return None if client is None else str(client), names
