"""Data keys for clients: generate, retrieve, and a keyset's index material."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from worker.authority import decoding, material, wire
from worker.authority.access import Caller
from worker.authority.asked import Asked, Maker, asked
from worker.authority.audit.chain import REASON_CHARACTERS
from worker.authority.audit.hashed import ContextHash
from worker.authority.erasure.subjects import Subjects
from worker.authority.limits import LimitOptions, Quota
from worker.authority.material import Item, KeysetSecrets
from worker.authority.refusal import Refusal
from worker.authority.rights import CANARY_DESCRIPTOR
from worker.authority.store import Row, Store
from worker.metrics import Metrics
from worker.zerokms.derive import Permutations


@dataclass(frozen=True, slots=True)
class Grant:
    """A client's opened share of a keyset, and the keyset's secrets."""

    client: str
    keyset: Row
    secrets: KeysetSecrets
    share: Permutations


class DataKeys:
    """
    Answers the derivation endpoints.

    Args:
        store: shares and secrets.
        hashed: hashes contexts for the audit.
        metrics: where keys are counted.
        limits: what one request and one client may ask.
        subjects: finds what contexts add to the keys of erasable keysets.
    """

    def __init__(
        self,
        store: Store,
        hashed: ContextHash,
        metrics: Metrics,
        limits: LimitOptions,
        subjects: Subjects,
    ) -> None:
        self._store = store
        self._subjects = subjects
        self._hashed = hashed
        self._metrics = metrics
        self._generate_quota = Quota(limits.generate_per_minute)
        self._retrieve_quota = Quota(limits.retrieve_per_minute)

    def generate(self, caller: Caller, body: wire.Generate | Asked) -> Any:
        """Make one fresh key per item."""
        wanted = asked(body)
        self._note(caller, wanted)
        grant = self.grant(caller, wanted.head.client_id, wanted.head.keyset_id)
        self._spend("generate", self._generate_quota, grant.client, len(wanted))
        answer = wanted.generate(caller, self._maker(grant))
        caller.decided()
        made = answer()
        self._metrics.inc("authority_keys_total", len(wanted), operation="generate")
        return made

    def retrieve(self, caller: Caller, body: wire.Retrieve | Asked) -> Any:
        """Make keys again; the first that is refused refuses the request."""
        return self._retrieve(caller, body, fallible=False)

    def retrieve_fallible(self, caller: Caller, body: wire.Retrieve | Asked) -> Any:
        """Make keys again; each is answered for itself."""
        return self._retrieve(caller, body, fallible=True)

    def load_keyset(self, caller: Caller, body: wire.LoadKeyset) -> dict[str, Any]:
        """Return the keyset and its index material for this client."""
        caller.note.update(client=str(body.client_id), count=1)
        grant = self.grant(caller, body.client_id, body.keyset_id)
        caller.decided()
        text = base64.b64encode(material.index_material(grant.secrets, grant.share)).decode()
        return {"partial_index_key": {"key_material": text}, "dataset": public_keyset(grant.keyset)}

    def canary(self, caller: Caller, client: str, keyset: Row, share: Permutations, item: Item) -> bytes:
        """Return the material of an enrolment's canary, counted as any retrieval; raises a 403 as that would."""
        caller.note.update(client=client, count=1, descriptors={CANARY_DESCRIPTOR: 1})
        _note_keyset(caller, keyset)
        caller.require_deriving(client)
        secrets = self.checked_canary(keyset, item)
        self._spend("retrieve", self._retrieve_quota, client, 1)
        self._metrics.inc("authority_keys_total", 1, operation="retrieve")
        return material.materials(secrets, share, [item], [item.tag])

    def checked_canary(self, keyset: Row, item: Item) -> KeysetSecrets:
        """Refuse a canary of a disabled keyset, or one that this authority did not make; returns the secrets."""
        if keyset["is_disabled"]:
            raise Refusal(403, f"Keyset disabled: {keyset['id']}")
        secrets = open_secrets(self._store, keyset)
        material.check_tag(secrets, 0, item)
        return secrets

    def may_wait(self, caller: Caller, body: Any) -> bool:
        """Whether an answer may wait for what is kept outside of the process: an epoch's key, of an erasable keyset."""
        head: wire.Generate | wire.Retrieve | wire.LoadKeyset = getattr(body, "head", body)
        client = self._store.state.clients.get(str(head.client_id))
        default = None if client is None else client["default_keyset"]
        try:
            return bool(find_keyset(self._store, caller.workspace, head.keyset_id, default=default)["erasable"])
        except Refusal:
            return False

    def grant(self, caller: Caller, client_id: UUID, ref: wire.KeysetRef) -> Grant:
        """Find what the caller's one client may use; raises 403 or 404, the keyset's own state first."""
        state, client = self._store.state, str(client_id)
        row = state.clients.get(client)
        caller.require_deriving(client)
        if row is None or row["workspace"] != caller.workspace or row["state"] != "active":
            raise Refusal(404, "Client not found")
        if row["region"] != str(self._store.region):
            raise Refusal(403, f"Not permitted: the client belongs to {row['region']}")
        keyset = find_keyset(self._store, caller.workspace, ref, default=row["default_keyset"])
        _note_keyset(caller, keyset)
        caller.require_keyset(keyset["id"])
        if keyset["is_disabled"]:
            raise Refusal(403, f"Keyset disabled: {keyset['id']}")
        return open_grant(self._store, client, keyset)

    def _retrieve(self, caller: Caller, body: wire.Retrieve | Asked, *, fallible: bool) -> Any:
        wanted = asked(body)
        self._note(caller, wanted)
        is_canary = all(descriptor == CANARY_DESCRIPTOR for descriptor in wanted.descriptors)
        if not is_canary:
            caller.require("data_key:retrieve")
        grant = self.grant(caller, wanted.head.client_id, wanted.head.keyset_id)
        if not is_canary and self._store.state.clients[grant.client]["needs_reason"]:
            _require_reason(wanted.head.unverified_context)
        self._spend("retrieve", self._retrieve_quota, grant.client, len(wanted))
        refused, answer = wanted.retrieve(caller, self._maker(grant), fallible=fallible)
        if refused:
            caller.note["refused"] = refused
            self._metrics.inc("authority_refusals_total", refused, operation="retrieve")
        caller.decided()
        made = answer()
        self._metrics.inc("authority_keys_total", len(wanted) - refused, operation="retrieve")
        return made

    def _maker(self, grant: Grant) -> Maker:
        return Maker(grant.secrets, grant.share, self._subjects.finder(grant.secrets))

    def _spend(self, operation: str, quota: Quota, client: str, count: int) -> None:
        try:
            quota.take(client, count, self._store.state.clients[client][f"{operation}_per_minute"])
        except Refusal:
            self._metrics.inc("authority_quota_refusals_total", operation=operation)
            raise

    def _note(self, caller: Caller, wanted: Asked) -> None:
        caller.note.update(
            client=str(wanted.head.client_id),
            count=len(wanted),
            descriptors=wanted.descriptors,
            contexts=wanted.hashes(self._hashed),
        )
        decoding.check_free(wanted.head.unverified_context)
        caller.note["unverified_context"] = wanted.head.unverified_context


def _require_reason(context: Any) -> None:
    reason = context.get("reason") if isinstance(context, dict) else None
    if not isinstance(reason, str) or not reason.strip():
        raise Refusal(403, "Not permitted: this client retrieves for a reason alone (reason in unverified_context)")
    # One that an auditor can't read is none: the audit keeps this much of it whatever else the line has to leave out.
    if len(reason) > REASON_CHARACTERS or not reason.isprintable():
        raise Refusal(403, f"Not permitted: the reason is one line of at most {REASON_CHARACTERS} characters")


def _note_keyset(caller: Caller, keyset: Row) -> None:
    caller.note.update(keyset=keyset["id"], keyset_name=keyset["name"])


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
    opened = state.opened["grants"].get(place)
    if isinstance(opened, Grant):
        return opened
    sealed = state.grants.get(place)
    if sealed is None:
        raise Refusal(404, "Keyset not granted to this client")
    share = Permutations.from_cbor(store.sealer.open(sealed["share"], what=f"grant/{client}/{keyset['id']}"))
    grant = Grant(client, keyset, open_secrets(store, keyset), share)
    state.opened["grants"][place] = grant
    return grant


def open_secrets(store: Store, keyset: Row) -> KeysetSecrets:
    """Open a keyset's own secrets."""
    opened = store.sealer.open(keyset["secrets"], what=f"keyset/{keyset['id']}")
    return KeysetSecrets(UUID(keyset["id"]), opened[:32], opened[32:64], opened[64:])


def public_keyset(row: Row) -> dict[str, Any]:
    """Return a keyset as the wire has it; that one is erasable stands in those alone that are."""
    told = {name: row[name] for name in ("id", "name", "description", "is_disabled", "is_default")}
    return {**told, "erasable": True} if row["erasable"] else told
