"""
Clients whose key the authority itself makes: the vendor's `create-client`, off unless the operator chose it.

For a keyset with root share B, the domain key is `D = B then W`, and W is the workspace's. Where client keys are born
split, W is computed nowhere. Here the authority draws W, keeps it sealed under a key of its own, and a client with
relation r gets `C = r^-1 then W`. So the authority could open everything by itself.
"""

from __future__ import annotations

import base64
from typing import Any
from uuid import uuid4

from worker.authority import schema
from worker.authority.access import Caller
from worker.authority.datakeys import find_keyset
from worker.authority.refusal import Refusal
from worker.authority.relation import share_of
from worker.authority.seal import Sealer
from worker.authority.store import Row, Store
from worker.authority.transaction import Transaction
from worker.authority.wire import CreateClient
from worker.zerokms.derive import ClientKey, Permutations, invert, then


class ServerMadeClients:
    """
    Makes clients together with their keys.

    Args:
        store: the authority's.
        sealer: under the escrow key; None where the operator did not choose this, and then every call is refused.

    Raises:
        ConfigError: the store holds an escrow of another key.
    """

    def __init__(self, store: Store, sealer: Sealer | None) -> None:
        self._store = store
        self._sealer = sealer
        if sealer is not None:
            for row in store.state.workspaces.values():
                if row["escrow"] is not None:
                    sealer.open(row["escrow"], what=f"escrow/{row['id']}")

    def create(self, caller: Caller, body: CreateClient) -> dict[str, Any]:
        """Make an active client; its key is in the answer and nowhere else."""
        self.require(caller)
        rows = self._store.state.keysets.values()
        default = next(k["id"] for k in rows if k["workspace"] == caller.workspace and k["is_default"])
        keyset = find_keyset(self._store, caller.workspace, body.keyset_id, default=default)
        caller.require_keyset(keyset["id"])
        client, key, changes = self._make(caller, keyset, body.name, body.description)
        caller.note["made"] = client
        self._store.write(lambda t: [change(t) for change in changes])
        public = {"id": client, "dataset_id": keyset["id"], "name": body.name, "description": body.description}
        return {**public, "client_key": key}

    def create_with(self, caller: Caller, keyset: Row, name: str) -> dict[str, Any]:
        """Make a new keyset and its first client in one transaction; returns the client as `create-keyset` has it."""
        self.require(caller)
        client, key, changes = self._make(caller, keyset, name, "")

        def change(transaction: Transaction) -> None:
            transaction.insert(schema.keysets, keyset)
            for step in changes:
                step(transaction)

        self._store.write(change)
        return {"id": client, "client_key": key}

    def require(self, caller: Caller) -> None:
        """Raise a 403 for a caller that may not, and for every caller where the operator did not choose this."""
        caller.require("client:create", "dataset:grant")
        if self._sealer is None:
            raise Refusal(403, "client keys are made by their clients here; enrol one (worker client create)")
        caller.require_no_client()

    def _make(self, caller: Caller, keyset: Row, name: str, description: str) -> tuple[str, str, list[Any]]:
        taken = self._store.state.clients.values()
        if any(c["workspace"] == caller.workspace and c["name"] == name for c in taken):
            raise Refusal(409, "a client of this name exists")
        whole, changes = self._whole(caller.workspace)
        client, relation = str(uuid4()), Permutations.random()
        key = ClientKey(then(invert(relation.p1), whole.p1), relation.p2, whole.p2, then(invert(relation.p3), whole.p3))
        seal, share = self._store.sealer.seal, share_of(self._store, keyset, relation)
        row = {
            "id": client,
            "workspace": caller.workspace,
            "name": name,
            "description": description,
            "default_keyset": keyset["id"],
            "region": str(self._store.region),
            "via": None,
            "relation": seal(relation.to_cbor(), what=f"relation/{client}"),
            "state": "active",
            "created_by": caller.subject,
            "secret_hash": None,
            "canary": None,
        }
        sealed = seal(share.to_cbor(), what=f"grant/{client}/{keyset['id']}")
        grant = {"client": client, "keyset": keyset["id"], "share": sealed}
        changes.append(lambda t: t.insert(schema.clients, row))
        changes.append(lambda t: t.insert(schema.grants, grant))
        return client, base64.b64encode(key.to_cbor()).decode(), changes

    def _whole(self, workspace: str) -> tuple[Permutations, list[Any]]:
        assert self._sealer is not None
        row, what = self._store.state.workspaces[workspace], f"escrow/{workspace}"
        if row["escrow"] is not None:
            return Permutations.from_cbor(self._sealer.open(row["escrow"], what=what)), []
        whole = Permutations.random()
        sealed = self._sealer.seal(whole.to_cbor(), what=what)
        return whole, [lambda t: begin_workspace(t, workspace, escrow=sealed)]


def begin_workspace(transaction: Transaction, workspace: str, *, escrow: bytes | None = None) -> None:
    """Mark that a workspace has its first client; raises a 409 where it has had one, also at the same moment."""
    values = {"enrolled": True, "escrow": escrow}
    transaction.update(schema.workspaces, workspace, values, expect={"enrolled": False})
