"""The authority's side of an enrolment: a client that no client key of is ever sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets as csprng
from typing import Any
from uuid import UUID, uuid4

from worker.authority import decoding, schema, wire
from worker.authority.access import Caller, hash_secret
from worker.authority.clients import LIMITS, find_client, public_client, require_reach
from worker.authority.datakeys import DataKeys, find_keyset
from worker.authority.escrow import begin_workspace
from worker.authority.material import Item
from worker.authority.refusal import Refusal
from worker.authority.relation import compose, read_relation, relation_of, share_of
from worker.authority.rights import CANARY_DESCRIPTOR
from worker.authority.store import Row, Store
from worker.authority.transaction import Transaction

_IDENTITY = list(range(16))


class Enrolment:
    """
    Proposed -> approved -> masked -> active.

    The proposing side knows an existing client key and hands a related one over; the new client masks that with a
    relation of its own, and shows that it can open what the old key sealed before it becomes active. That canary is
    the one value that an enrolment derives a key for: only under the reserved descriptor, only for a caller that is
    bound to the new client, and counted and audited as any derivation.
    """

    def __init__(self, store: Store, data_keys: DataKeys) -> None:
        self._store = store
        self._data_keys = data_keys

    def propose(self, caller: Caller, body: wire.ProposeClient) -> dict[str, Any]:
        """Begin an enrolment; the secret in the answer is for the new client alone."""
        state = self._store.state
        if body.region != str(self._store.region):
            raise Refusal(403, f"Not permitted: the authority serves {self._store.region}, not {body.region}")
        if any(c["workspace"] == caller.workspace and c["name"] == body.name for c in state.clients.values()):
            raise Refusal(409, "a client of this name exists")
        default = next(
            k["id"] for k in state.keysets.values() if k["workspace"] == caller.workspace and k["is_default"]
        )
        keyset = find_keyset(self._store, caller.workspace, body.keyset_id, default=default)
        caller.require_keyset(keyset["id"])
        relation = self._relation(caller, body, keyset)
        client, secret = str(uuid4()), csprng.token_urlsafe(32)
        caller.note["made"] = client
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

        def change(transaction: Transaction) -> None:
            # Who enrols through a client is held to what that one is, by what the store has within the write.
            through = None if body.via is None else find_client(self._store.state, caller, body.via)
            limits = {} if through is None else {k: through[k] for k in LIMITS}
            transaction.insert(schema.clients, row | limits)

        self._store.write(change)
        return {"id": client, "dataset_id": keyset["id"], "enrolment_secret": secret}

    def approve(self, caller: Caller, body: wire.ApproveClient) -> dict[str, Any]:
        """Consent to a proposed client; answers what has been approved."""
        caller.require_no_client()
        row = find_client(self._store.state, caller, body.client_id)
        require_reach(self._store.state, caller, row)
        if row["state"] != "proposed":
            raise Refusal(409, f"the client is {row['state']}")
        caller.note["what"] = shown = {**public_client(row), "keyset_id": [row["default_keyset"]]}
        self._update(row, {"state": "approved"})
        return {**shown, "state": "approved"}

    def mask(self, caller: Caller, body: wire.MaskClient) -> dict[str, Any]:
        """Apply the new client's own relation, once; answer the canary's material under its new share."""
        caller.require_deriving(str(body.client_id))
        row = self._enrolling(caller, body.client_id, body.enrolment_secret, "approved")
        relation = compose(relation_of(self._store, row), read_relation(body.relation, body.p2))
        sealed = self._store.sealer.seal(relation.to_cbor(), what=f"relation/{row['id']}")
        answer: dict[str, Any] = {"canary": None}
        if row["canary"] is not None:
            keyset = self._store.state.keysets[row["default_keyset"]]
            share, item = share_of(self._store, keyset, relation), _item(row["canary"])
            made = self._data_keys.canary(caller, row["id"], keyset, share, item)
            answer["canary"] = {"iv": row["canary"]["iv"], "key_material": base64.b64encode(made).decode()}
        self._update(row, {"relation": sealed, "state": "masked"})
        return answer

    def activate(self, caller: Caller, body: wire.ActivateClient) -> dict[str, Any]:
        """Let the client be used, once it has shown that its key opens the canary."""
        caller.require_deriving(str(body.client_id))
        row = self._enrolling(caller, body.client_id, body.enrolment_secret, "masked")
        if row["canary"] is not None:
            shown = hashlib.sha256(body.proof.encode()).hexdigest()
            if not hmac.compare_digest(shown, row["canary"]["commitment"]):
                raise Refusal(403, "the canary was not opened: the client key is not the right one")
        keyset = self._store.state.keysets[row["default_keyset"]]
        share = share_of(self._store, keyset, relation_of(self._store, row))
        sealed = self._store.sealer.seal(share.to_cbor(), what=f"grant/{row['id']}/{keyset['id']}")

        def change(transaction: Transaction) -> None:
            values = {"state": "active", "secret_hash": None, "canary": None}
            transaction.update(schema.clients, row["id"], values, expect={"state": "masked"})
            transaction.insert(schema.grants, {"client": row["id"], "keyset": keyset["id"], "share": sealed})
            if row["via"] is None:
                begin_workspace(transaction, row["workspace"])

        self._store.write(change)
        return {}

    def _relation(self, caller: Caller, body: wire.ProposeClient, keyset: Row) -> Any:
        given = (body.via, body.relation, body.canary)
        if all(g is None for g in given):
            caller.require_no_client()
            if self._store.state.workspaces[caller.workspace]["enrolled"]:
                raise Refusal(409, "the workspace has had clients: enrol through one of them (via)")
            return read_relation(wire.Relation(p1=_IDENTITY, p3=list(range(33))), _IDENTITY)
        if body.via is None or body.relation is None or body.canary is None:
            raise Refusal(400, "via, relation and canary belong together")
        via = find_client(self._store.state, caller, body.via)
        caller.require_client(via["id"])
        if via["state"] != "active":
            raise Refusal(409, f"the client to enrol through is {via['state']}")
        if (via["id"], keyset["id"]) not in self._store.state.grants:
            raise Refusal(404, "Keyset not granted to the client to enrol through")
        if body.canary.descriptor != CANARY_DESCRIPTOR:
            raise Refusal(400, f"an enrolment's canary has the descriptor {CANARY_DESCRIPTOR}")
        self._data_keys.checked_canary(keyset, _item(body.canary.model_dump()))
        return compose(relation_of(self._store, via), read_relation(body.relation, _IDENTITY))

    def _enrolling(self, caller: Caller, client: UUID, secret: str, state: str) -> Row:
        row = find_client(self._store.state, caller, client)
        if not hmac.compare_digest(row["secret_hash"] or bytes(32), hash_secret(secret)):
            raise Refusal(403, "Not permitted: the enrolment secret is wrong or used up")
        if row["state"] != state:
            raise Refusal(409, f"the client is {row['state']}, not {state}")
        return row

    def _update(self, row: Row, values: dict[str, Any]) -> None:
        expect = {"state": row["state"]}
        self._store.write(lambda t: t.update(schema.clients, row["id"], values, expect=expect))


def _item(canary: dict[str, Any]) -> Item:
    try:
        tag = bytes.fromhex(canary["tag"])
    except ValueError:
        raise Refusal(400, "the canary's tag is not hex") from None
    return Item(decoding.decode_iv(canary["iv"]), canary["descriptor"].encode(), b"", tag)
