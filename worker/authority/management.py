"""CTS management: workspaces, access keys, identity providers, memberships, blocked subjects (protocol 3.4)."""

from __future__ import annotations

import base64
import os
import time
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, insert

from worker.authority import schema, wire
from worker.authority.access import ROLES, Caller, new_access_key, scopes_for
from worker.authority.keysets import new_keyset
from worker.authority.refusal import Refusal
from worker.authority.store import Store


def new_workspace(store: Store, name: str) -> str:
    """Make a workspace with its default keyset; return its id."""
    workspace = base64.b32encode(os.urandom(10)).decode()
    keyset = new_keyset(store, workspace, "default", "the workspace's default", is_default=True)

    def change(connection: Connection) -> None:
        connection.execute(insert(schema.workspaces), {"id": workspace, "name": name, "enrolled": False})
        connection.execute(insert(schema.keysets), keyset)

    store.write(change)
    return workspace


def make_access_key(
    store: Store,
    workspace: str,
    name: str,
    role: str,
    scopes: list[str] | None = None,
    clients: list[str] | None = None,
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
        "scopes": scopes_for(role, scopes),
        "clients": clients,
        "secret_hash": hashed,
        "created_at": time.time(),
    }
    store.write(lambda c: c.execute(insert(schema.access_keys), row))
    return text


class Management:
    """What an admin does at CTS."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list_access_keys(self, caller: Caller) -> list[dict[str, Any]]:
        """List the workspace's access keys, without their secrets."""
        caller.require("access_key:list")
        rows = [r for r in self._store.state.access_keys.values() if r["workspace"] == caller.workspace]
        return [
            {
                "keyId": r["id"],
                "workspaceId": r["workspace"],
                "keyName": r["name"],
                "createdAt": r["created_at"],
                "lastUsedAt": r["last_used_at"],
                "role": r["role"],
                "clients": r["clients"],
            }
            for r in rows
        ]

    def create_access_key(self, caller: Caller, body: wire.CreateAccessKey) -> dict[str, Any]:
        """Make an access key with no more than the caller's own scopes."""
        caller.require("access_key:create")
        self._own(caller, body.workspaceId)
        scopes = scopes_for(body.role, body.scopes)
        held = caller.scopes | (set(ROLES["writer"]) if "data_key:retrieve" in caller.scopes else set())
        if not set(scopes) <= held or (body.role == "admin" and "admin" not in caller.roles):
            raise Refusal(403, "Not permitted: the new key would have more scopes than the caller")
        clients = None if body.clients is None else [str(c) for c in body.clients]
        return {"accessKey": make_access_key(self._store, caller.workspace, body.keyName, body.role, scopes, clients)}

    def delete_access_key(self, caller: Caller, body: wire.DeleteAccessKey) -> dict[str, Any]:
        """Delete an access key; tokens issued for it stop at the next request."""
        caller.require("access_key:delete")
        self._own(caller, body.workspaceId)
        table = schema.access_keys
        rows = self._store.state.access_keys.values()
        if not any(r["workspace"] == caller.workspace and r["name"] == body.keyName for r in rows):
            raise Refusal(404, "Access key not found")
        where = (table.c.workspace == caller.workspace) & (table.c.name == body.keyName)
        self._store.write(lambda c: c.execute(delete(table).where(where)))
        return {"message": "deleted"}

    def list_workspaces(self, caller: Caller) -> list[dict[str, Any]]:
        """List the caller's workspace."""
        row = self._store.state.workspaces[caller.workspace]
        return [{"id": row["id"], "name": row["name"], "region": f"{self._store.region}.aws"}]

    def list_providers(self, caller: Caller) -> list[dict[str, Any]]:
        """List the trusted identity providers."""
        caller.require_role("admin")
        rows = [p for p in self._store.state.providers if p["workspace"] == caller.workspace]
        return [{k: p[k] for k in ("id", "issuer", "vendor", "audience", "jwks_uri")} for p in rows]

    def create_provider(self, caller: Caller, body: wire.CreateProvider) -> dict[str, Any]:
        """Trust an identity provider; one a workspace, so that a subject can't be two people's."""
        caller.require_role("admin")
        if (body.jwks_uri is None) == (body.jwks is None):
            raise Refusal(400, "give jwks_uri or jwks")
        if any(p["workspace"] == caller.workspace for p in self._store.state.providers):
            raise Refusal(409, "the workspace trusts a provider already; delete it first")
        row = {"id": str(uuid4()), "workspace": caller.workspace, **body.model_dump()}
        self._store.write(lambda c: c.execute(insert(schema.oidc_providers), row))
        return {"id": row["id"]}

    def delete_provider(self, caller: Caller, provider: str) -> dict[str, Any]:
        """Trust a provider no longer; its users' tokens stop at the next request."""
        caller.require_role("admin")
        return self._delete(caller, schema.oidc_providers, provider)

    def list_memberships(self, caller: Caller) -> list[dict[str, Any]]:
        """List the roles given to subjects."""
        caller.require_role("admin")
        rows = [m for m in self._store.state.memberships if m["workspace"] == caller.workspace]
        return [{k: m[k] for k in ("id", "subject", "role")} for m in rows]

    def create_membership(self, caller: Caller, body: wire.CreateMembership) -> dict[str, Any]:
        """Give a subject of the identity provider a role."""
        caller.require_role("admin")
        scopes_for(body.role, None)
        rows = self._store.state.memberships
        if any(m["workspace"] == caller.workspace and m["subject"] == body.subject for m in rows):
            raise Refusal(409, "the subject has a role already")
        row = {"id": str(uuid4()), "workspace": caller.workspace, "subject": body.subject, "role": body.role}
        self._store.write(lambda c: c.execute(insert(schema.memberships), row))
        return {"id": row["id"]}

    def delete_membership(self, caller: Caller, membership: str) -> dict[str, Any]:
        """Take a role back; tokens issued with it last at most a quarter of an hour."""
        caller.require_role("admin")
        return self._delete(caller, schema.memberships, membership)

    def block(self, caller: Caller, body: wire.Subject) -> dict[str, Any]:
        """Refuse every token of a subject from the next request on."""
        caller.require_role("admin")
        if (caller.workspace, body.subject) not in self._store.state.blocked:
            row = {"workspace": caller.workspace, "subject": body.subject}
            self._store.write(lambda c: c.execute(insert(schema.blocked_subjects), row))
        return {}

    def unblock(self, caller: Caller, body: wire.Subject) -> dict[str, Any]:
        """Let a subject in again."""
        caller.require_role("admin")
        table = schema.blocked_subjects
        where = (table.c.workspace == caller.workspace) & (table.c.subject == body.subject)
        self._store.write(lambda c: c.execute(delete(table).where(where)))
        return {}

    def _own(self, caller: Caller, workspace: str | None) -> None:
        if workspace is not None and workspace != caller.workspace:
            raise Refusal(403, "Not permitted: the token is another workspace's")

    def _delete(self, caller: Caller, table: Any, row_id: str) -> dict[str, Any]:
        where = (table.c.workspace == caller.workspace) & (table.c.id == row_id)
        gone: list[int] = []
        self._store.write(lambda c: gone.append(c.execute(delete(table).where(where)).rowcount))
        if not gone[0]:
            raise Refusal(404, "not found")
        return {}
