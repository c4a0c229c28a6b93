"""Clients: enrolled in two steps without their key ever leaving them, listed, deleted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets as csprng
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, insert, update

from worker.authority import decoding, material, schema, wire
from worker.authority.access import Caller, hash_secret
from worker.authority.datakeys import find_keyset, open_secrets
from worker.authority.escrow import begin_workspace
from worker.authority.material import Item
from worker.authority.refusal import Refusal
from worker.authority.relation import compose, read_relation, relation_of, share_of
from worker.authority.store import Row, Store

_IDENTITY = list(range(16))


class Clients:
    """
    The administration of clients; the caller's scope is checked here.

    An enrolment goes proposed -> approved -> masked -> active. The proposing side knows an existing client key and
    hands a related one over; the new client masks that with a relation of its own, and shows that it can open what
    the old key sealed before it becomes active. No client key, and no p2_to, is ever sent.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def propose(self, caller: Caller, body: wire.ProposeClient) -> dict[str, Any]:
        """Begin an enrolment; the secret in the answer is for the new client alone."""
        caller.require("client:create")
        caller.require("dataset:grant")
        state = self._store.state
        if body.region != str(self._store.region):
            raise Refusal(403, f"Not permitted: the authority serves {self._store.region}, not {body.region}")
        if any(c["workspace"] == caller.workspace and c["name"] == body.name for c in state.clients.values()):
            raise Refusal(409, "a client of this name exists")
        keyset = self._keyset(caller, body.keyset_id)
        relation, client, secret = self._relation(caller, body), str(uuid4()), csprng.token_urlsafe(32)
        row = {
            "id": client,
            "workspace": caller.workspace,
            "name": body.name,
            "description": body.description,
            "default_keyset": keyset["id"],
            "region": body.region,
            "via": None if body.via is None else str(body.via),
            "relation": self._store.sealer.seal(relation.to_cbor(), what=f"relation/{client}"),
            "state": "proposed",
            "created_by": caller.subject,
            "secret_hash": hash_secret(secret),
            "canary": None if body.canary is None else body.canary.model_dump(),
        }
        self._store.write(lambda c: c.execute(insert(schema.clients), row))
        return {"id": client, "dataset_id": keyset["id"], "enrolment_secret": secret}

    def approve(self, caller: Caller, body: wire.ApproveClient) -> dict[str, Any]:
        """Consent as an admin."""
        caller.require_role("admin")
        row = self._find(caller, body.client_id)
        if row["state"] != "proposed":
            raise Refusal(409, f"the client is {row['state']}")
        self._update(row["id"], {"state": "approved"})
        return {}

    def mask(self, caller: Caller, body: wire.MaskClient) -> dict[str, Any]:
        """Apply the new client's own relation, once; answer the canary's material under its new share."""
        row = self._enrolling(caller, body.client_id, body.enrolment_secret, "approved")
        relation = compose(relation_of(self._store, row), read_relation(body.relation, body.p2))
        sealed = self._store.sealer.seal(relation.to_cbor(), what=f"relation/{row['id']}")
        self._update(row["id"], {"relation": sealed, "state": "masked"})
        canary = row["canary"]
        if canary is None:
            return {"canary": None}
        keyset = self._store.state.keysets[row["default_keyset"]]
        secrets, tag = open_secrets(self._store, keyset), bytes.fromhex(canary["tag"])
        item = Item(decoding.decode_iv(canary["iv"]), canary["descriptor"].encode(), b"", tag)
        material.check_tag(secrets, 0, item)
        made = material.materials(secrets, share_of(self._store, keyset, relation), [item], [tag])
        return {"canary": {"iv": canary["iv"], "key_material": base64.b64encode(made).decode()}}

    def activate(self, caller: Caller, body: wire.ActivateClient) -> dict[str, Any]:
        """Let the client be used, once it has shown that its key opens the canary."""
        row = self._enrolling(caller, body.client_id, body.enrolment_secret, "masked")
        if row["canary"] is not None:
            shown = hashlib.sha256(body.proof.encode()).hexdigest()
            if not hmac.compare_digest(shown, row["canary"]["commitment"]):
                raise Refusal(403, "the canary was not opened: the client key is not the right one")
        keyset = self._store.state.keysets[row["default_keyset"]]
        share = share_of(self._store, keyset, relation_of(self._store, row))
        sealed = self._store.sealer.seal(share.to_cbor(), what=f"grant/{row['id']}/{keyset['id']}")

        def change(connection: Connection) -> None:
            values = {"state": "active", "secret_hash": None, "canary": None}
            connection.execute(update(schema.clients).where(schema.clients.c.id == row["id"]).values(values))
            connection.execute(insert(schema.grants), {"client": row["id"], "keyset": keyset["id"], "share": sealed})
            if row["via"] is None:
                begin_workspace(connection, row["workspace"])

        self._store.write(change)
        return {}

    def list(self, caller: Caller, body: wire.ListClients) -> list[dict[str, Any]]:
        """List the workspace's clients, or those granted one keyset."""
        caller.require("client:list")
        state = self._store.state
        only = find_keyset(self._store, caller.workspace, body.keyset_id)["id"] if body.keyset_id else None
        found = []
        for row in state.clients.values():
            held = [keyset for client, keyset in state.grants if client == row["id"]]
            if row["workspace"] == caller.workspace and (only is None or only in held):
                public = {k: row[k] for k in ("id", "name", "description", "created_by", "via", "region", "state")}
                found.append({**public, "keyset_id": held})
        return found

    def delete(self, caller: Caller, body: wire.DeleteClient) -> dict[str, Any]:
        """Delete a client with its shares and its relation, and by default all that were enrolled through it."""
        caller.require("client:delete")
        first = self._find(caller, body.client_id)["id"]
        doomed = [first, *self._descendants(first)] if body.cascade else [first]

        def change(connection: Connection) -> None:
            connection.execute(delete(schema.grants).where(schema.grants.c.client.in_(doomed)))
            connection.execute(delete(schema.clients).where(schema.clients.c.id.in_(doomed)))

        self._store.write(change)
        return {"deleted": doomed}

    def _relation(self, caller: Caller, body: wire.ProposeClient) -> Any:
        given = (body.via, body.relation, body.canary)
        if all(g is None for g in given):
            taken = self._store.state.workspaces[caller.workspace]["enrolled"]
            if taken:
                raise Refusal(409, "the workspace has had clients: enrol through one of them (via)")
            return read_relation(wire.Relation(p1=_IDENTITY, p3=list(range(33))), _IDENTITY)
        if body.via is None or body.relation is None or body.canary is None:
            raise Refusal(400, "via, relation and canary belong together")
        via = self._find(caller, body.via)
        if via["state"] != "active":
            raise Refusal(409, f"the client to enrol through is {via['state']}")
        return compose(relation_of(self._store, via), read_relation(body.relation, _IDENTITY))

    def _keyset(self, caller: Caller, ref: wire.KeysetRef) -> Row:
        rows = self._store.state.keysets.values()
        default = next(k["id"] for k in rows if k["workspace"] == caller.workspace and k["is_default"])
        return find_keyset(self._store, caller.workspace, ref, default=default)

    def _find(self, caller: Caller, client: UUID) -> Row:
        row = self._store.state.clients.get(str(client))
        if row is None or row["workspace"] != caller.workspace:
            raise Refusal(404, "Client not found")
        return row

    def _enrolling(self, caller: Caller, client: UUID, secret: str, state: str) -> Row:
        row = self._find(caller, client)
        if not hmac.compare_digest(row["secret_hash"] or bytes(32), hash_secret(secret)):
            raise Refusal(403, "Not permitted: the enrolment secret is wrong or used up")
        if row["state"] != state:
            raise Refusal(409, f"the client is {row['state']}, not {state}")
        return row

    def _descendants(self, client: str) -> Iterator[str]:
        for row in self._store.state.clients.values():
            if row["via"] == client:
                yield row["id"]
                yield from self._descendants(row["id"])

    def _update(self, client: str, values: dict[str, Any]) -> None:
        statement = update(schema.clients).where(schema.clients.c.id == client).values(values)
        self._store.write(lambda c: c.execute(statement))
