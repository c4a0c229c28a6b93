"""Data keys for clients: generate, retrieve, and a keyset's index material."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pybase64

from worker.authority import decoding, material, wire
from worker.authority.access import CANARY_DESCRIPTOR, CANARY_SCOPE, Caller
from worker.authority.audit import AuditHook
from worker.authority.limits import LimitOptions, Quota
from worker.authority.material import Item, KeysetSecrets
from worker.authority.refusal import Refusal
from worker.authority.store import Row, Store
from worker.metrics import Metrics
from worker.zerokms.derive import KeySet

_LOCK = "Context did not satisfy lock requirements"


@dataclass(frozen=True, slots=True)
class Grant:
    """A client's opened share of a keyset, and the keyset's secrets."""

    client: str
    keyset: Row
    secrets: KeysetSecrets
    share: KeySet


class DataKeys:
    """Answers the four derivation endpoints; every call is audited before it returns or raises."""

    def __init__(self, store: Store, audit: AuditHook, metrics: Metrics, limits: LimitOptions) -> None:
        self._store = store
        self._audit = audit
        self._metrics = metrics
        self._limits = limits
        self._generate_quota = Quota(limits.generate_per_minute)
        self._retrieve_quota = Quota(limits.retrieve_per_minute)

    def generate(self, caller: Caller, body: wire.Generate) -> dict[str, Any]:
        """Make one fresh key per item."""
        return self._audited("generate", caller, body, lambda: self._generate(caller, body))

    def retrieve(self, caller: Caller, body: wire.Retrieve) -> dict[str, Any]:
        """Make keys again; the first that is refused refuses the request."""
        return self._audited("retrieve", caller, body, lambda: self._retrieve(caller, body, fallible=False))

    def retrieve_fallible(self, caller: Caller, body: wire.Retrieve) -> dict[str, Any]:
        """Make keys again; each is answered for itself."""
        return self._audited("retrieve", caller, body, lambda: self._retrieve(caller, body, fallible=True))

    def load_keyset(self, caller: Caller, body: wire.LoadKeyset) -> dict[str, Any]:
        """Return the keyset and its index material for this client."""
        return self._audited("load", caller, body, lambda: self._load(caller, body))

    def grant(self, caller: Caller, client_id: UUID, ref: wire.KeysetRef) -> Grant:
        """Find what `client_id` may use; raises 403 or 404, the keyset's own state first."""
        state, client = self._store.state, str(client_id)
        row = state.clients.get(client)
        bound = state.access_keys[caller.access_key]["clients"] if caller.access_key else None
        if bound is not None and client not in bound:
            raise Refusal(403, "Not permitted: this access key is bound to other clients")
        if row is None or row["workspace"] != caller.workspace or row["state"] != "active":
            raise Refusal(404, "Client not found")
        if row["region"] != str(self._store.region):
            raise Refusal(403, f"Not permitted: the client belongs to {row['region']}")
        keyset = find_keyset(self._store, caller.workspace, ref, default=row["default_keyset"])
        if keyset["is_disabled"]:
            raise Refusal(403, f"Keyset disabled: {keyset['id']}")
        return open_grant(self._store, client, keyset)

    def _generate(self, caller: Caller, body: wire.Generate) -> dict[str, Any]:
        caller.require("data_key:generate")
        grant = self.grant(caller, body.client_id, body.keyset_id)
        self._spend("generate", self._generate_quota, grant.client, len(body.keys))
        groups = _resolve_all(caller, body.keys)
        items = [item for item, _, _ in groups]
        tags = material.make_tags(grant.secrets, [(item, version) for item, version, _ in groups])
        made = _encode(material.materials(grant.secrets, grant.share, items, tags), len(items))
        keys = []
        for text, tag, (_, _, policy) in zip(made, tags, groups, strict=True):
            key: dict[str, Any] = {"key_material": text, "tag": base64.b64encode(tag).decode()}
            if policy is not None:
                key["decryption_policy"] = policy
            keys.append(key)
        self._metrics.inc("authority_keys_total", len(keys), operation="generate")
        return {"keys": keys}

    def _retrieve(self, caller: Caller, body: wire.Retrieve, *, fallible: bool) -> dict[str, Any]:
        if CANARY_SCOPE not in caller.scopes or not all(k.descriptor == CANARY_DESCRIPTOR for k in body.keys):
            caller.require("data_key:retrieve")
        grant = self.grant(caller, body.client_id, body.keyset_id)
        self._spend("retrieve", self._retrieve_quota, grant.client, len(body.keys))
        errors: dict[int, str] = {}
        items: list[Item] = []
        for at, key in enumerate(body.keys):
            try:
                items.append(_checked(caller, grant.secrets, key))
            except Refusal as exc:
                if not fallible:
                    raise
                errors[at] = str(exc)
        if errors:
            self._metrics.inc("authority_refusals_total", len(errors), operation="retrieve")
        texts = iter(_encode(material.materials(grant.secrets, grant.share, items, [i.tag for i in items]), len(items)))
        self._metrics.inc("authority_keys_total", len(items), operation="retrieve")
        if not fallible:
            return {"keys": [{"key_material": text} for text in texts]}
        answers: list[dict[str, Any]] = [
            {"Err": errors[at]} if at in errors else {"Ok": {"key_material": next(texts)}}
            for at in range(len(body.keys))
        ]
        return {"keys": answers}

    def _load(self, caller: Caller, body: wire.LoadKeyset) -> dict[str, Any]:
        if CANARY_SCOPE not in caller.scopes:
            caller.require("data_key:retrieve")
        grant = self.grant(caller, body.client_id, body.keyset_id)
        text = base64.b64encode(material.index_material(grant.secrets, grant.share)).decode()
        return {"partial_index_key": {"key_material": text}, "dataset": public_keyset(grant.keyset)}

    def _spend(self, operation: str, quota: Quota, client: str, count: int) -> None:
        if count > self._limits.keys_per_request:
            raise Refusal(413, f"{count} keys in one request; at most {self._limits.keys_per_request}")
        try:
            quota.take(client, count)
        except Refusal:
            self._metrics.inc("authority_quota_refusals_total", operation=operation)
            raise

    def _audited(
        self,
        operation: str,
        caller: Caller,
        body: wire.Generate | wire.Retrieve | wire.LoadKeyset,
        answer: Callable[[], dict[str, Any]],
    ) -> dict[str, Any]:
        event = self._event(operation, caller, body)
        try:
            answered = answer()
        except Refusal as refusal:
            self._metrics.inc("authority_refusals_total", operation=operation)
            self._audit.record({**event, "outcome": "refused", "status": refusal.status, "reason": refusal.reason})
            raise
        refused = sum("Err" in key for key in answered.get("keys", ()))
        self._audit.record({**event, "outcome": "allowed", "refused": refused})
        return answered

    def _event(
        self, operation: str, caller: Caller, body: wire.Generate | wire.Retrieve | wire.LoadKeyset
    ) -> dict[str, Any]:
        keys: Sequence[wire.GenerateItem] = () if isinstance(body, wire.LoadKeyset) else body.keys
        unverified = {} if isinstance(body, wire.LoadKeyset) else body.unverified_context
        decoding.check_depth(unverified)
        contexts = {str(key.context).encode() for key in keys if key.context}
        return {
            "operation": operation,
            "workspace": caller.workspace,
            "subject": caller.subject,
            "client": str(body.client_id),
            "keyset": str(body.keyset_id),
            "count": len(keys),
            "descriptors": Counter(key.descriptor for key in keys),
            "contexts": sorted(self._audit.hash(context) for context in contexts),
            "unverified_context": unverified,
        }


def find_keyset(store: Store, workspace: str, ref: wire.KeysetRef, *, default: str | None = None) -> Row:
    """Find a keyset of a workspace by id, name or default; raises a 404."""
    state = store.state
    keyset = None
    if isinstance(ref, wire.ByName):
        keyset = next(
            (k for k in state.keysets.values() if k["workspace"] == workspace and k["name"] == ref.Name), None
        )
    elif ref is not None:
        keyset = state.keysets.get(str(ref.Uuid if isinstance(ref, wire.ByUuid) else ref))
    elif default is not None:
        keyset = state.keysets.get(default)
    if keyset is None or keyset["workspace"] != workspace:
        raise Refusal(404, "Keyset not found")
    return keyset


def open_grant(store: Store, client: str, keyset: Row) -> Grant:
    """Open a client's share; raises a 404 where it has no grant."""
    state, place = store.state, (client, keyset["id"])
    opened = state.opened.get(place)
    if isinstance(opened, Grant):
        return opened
    sealed = state.grants.get(place)
    if sealed is None:
        raise Refusal(404, "Keyset not granted to this client")
    share = KeySet.from_cbor(store.sealer.open(sealed, what=f"grant/{client}/{keyset['id']}"))
    grant = Grant(client, keyset, open_secrets(store, keyset), share)
    state.opened[place] = grant
    return grant


def open_secrets(store: Store, keyset: Row) -> KeysetSecrets:
    """Open a keyset's own secrets."""
    both = store.sealer.open(keyset["secrets"], what=f"keyset/{keyset['id']}")
    return KeysetSecrets(UUID(keyset["id"]), both[:32], both[32:])


def public_keyset(row: Row) -> dict[str, Any]:
    """Return a keyset as the wire has it."""
    return {name: row[name] for name in ("id", "name", "description", "is_disabled", "is_default")}


def _resolve_all(caller: Caller, keys: Sequence[wire.GenerateItem]) -> list[tuple[Item, int, dict[str, Any] | None]]:
    return [_resolve(caller, key) for key in keys]


def _resolve(caller: Caller, key: wire.GenerateItem, tag: bytes = b"") -> tuple[Item, int, dict[str, Any] | None]:
    iv, descriptor = decoding.decode_iv(key.iv), key.descriptor.encode()
    if key.decryption_policy is None:
        bound = b"".join(_bound(caller, element) for element in key.context) if key.context else b""
        return Item(iv, descriptor, bound, tag), 0, None
    if key.context:
        raise Refusal(400, "a key has a context or a decryption policy, not both")
    conditions = []
    for condition in key.decryption_policy.conditions:
        value = condition.value if condition.value is not None else caller.claims.get(condition.claim)
        if value is None:
            raise Refusal(403, _LOCK)
        conditions.append({"claim": condition.claim, "value": value})
    bound = b"".join(material.framed(c["claim"].encode(), c["value"].encode()) for c in conditions)
    return Item(iv, descriptor, bound, tag), 1, {"conditions": conditions}


def _bound(caller: Caller, element: wire.Element) -> bytes:
    given = [v for v in (element.Tag, element.Value, element.IdentityClaim) if v is not None]
    if len(given) != 1:
        raise Refusal(400, "a context element is exactly one of Tag, Value and IdentityClaim")
    if element.Tag is not None:
        return material.framed(b"tag", element.Tag.encode())
    if element.Value is not None:
        return material.framed(b"value", element.Value[0].encode(), element.Value[1].encode())
    claim = str(element.IdentityClaim)
    if claim not in caller.claims:
        raise Refusal(403, _LOCK)
    return material.framed(b"claim", claim.encode(), caller.claims[claim].encode())


def _checked(caller: Caller, secrets: KeysetSecrets, key: wire.RetrieveItem) -> Item:
    item, version, policy = _resolve(caller, key, bytes(key.tag))
    if version != key.tag_version:
        raise Refusal(400, "tag_version is 1 with a decryption policy and 0 without")
    material.check_tag(secrets, version, item)
    if policy and not any(caller.claims.get(c["claim"]) == c["value"] for c in policy["conditions"]):
        raise Refusal(403, _LOCK)
    return item


def _encode(materials: bytes, count: int) -> list[str]:
    # 528 is a multiple of 3, so the encoding of all is the encodings of each, without padding.
    text = pybase64.b64encode_as_string(materials)
    width = len(text) // max(1, count)
    return [text[i * width : (i + 1) * width] for i in range(count)]
