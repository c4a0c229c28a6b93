"""
What the authority does, without HTTP: tokens, data keys, keysets, clients, grants.

A client's share of a keyset is the keyset's base share then the client's relation to the first client: so a grant needs
nobody's client key, and no party holds both halves. Source: protocol 4, 5.4.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from worker.authority import material, request, store
from worker.authority.audit import Audit
from worker.authority.material import KeysetSecrets
from worker.authority.refusal import Refusal
from worker.authority.seal import Sealer
from worker.authority.tokens import ROLES, Caller, TokenIssuer, new_key
from worker.errors import RegionViolation
from worker.zerokms.derive import KeySet, Permutation, then

Json = dict[str, Any]
CANARY = b"zk-canary"
_IDENTITY = (np.arange(16, dtype=np.uint8), np.arange(33, dtype=np.uint8))


class Authority:
    """
    One region's key authority over a store.

    Args:
        db: the state. sealer: opens its secrets. audit: told of every request before it is answered.
        region: what this authority serves; a store of another region is refused.
        workspace: made anew in an empty store where None.
    """

    def __init__(
        self, db: store.Store, sealer: Sealer, audit: Audit, *, region: str, workspace: str | None = None
    ) -> None:
        self._db, self._sealer, self._audit, self.region = db, sealer, audit, region
        found = db.one(sa.select(store.authority))
        if found is None:
            self._initialise(region, workspace or base64.b32encode(secrets.token_bytes(10)).decode())
            found = db.one(sa.select(store.authority))
            assert found is not None
        if found.region != region:
            raise RegionViolation(f"the store is of region {found.region!r}, this authority serves {region!r}")
        self.workspace: str = found.workspace
        self.tokens = TokenIssuer(
            sealer.open(found.token_key, what="token key"), workspace=self.workspace, region=region
        )

    def _initialise(self, region: str, workspace: str) -> None:
        sealed = self._sealer.seal(new_key(), what="token key")
        with self._db.write() as tx:
            tx.execute(
                sa.insert(store.authority).values(one=True, region=region, workspace=workspace, token_key=sealed)
            )
            self._insert_keyset(tx, uuid4(), "default", "the workspace's default keyset", is_default=True)

    # tokens and access keys

    def authorise(self, body: bytes, base: str) -> Json:
        """Exchange an access key for a service token."""
        value = request.parse(body)
        key = request.text(value.get("accessKey"), "accessKey", longest=256, shortest=1)
        key_id, _, secret = key.removeprefix("CSAK").partition(".")
        row = self._db.one(sa.select(store.access_keys).where(store.access_keys.c.key_id == key_id))
        digest = hashlib.sha256(secret.encode()).digest()
        if row is None or not key.startswith("CSAK") or not hmac.compare_digest(row.digest, digest):
            raise Refusal(401, "the access key is not known")
        with self._db.write() as tx:
            tx.execute(
                sa.update(store.access_keys)
                .where(store.access_keys.c.key_id == key_id)
                .values(last_used_at=datetime.now(UTC))
            )
        audience = value.get("audience")
        token, expiry = self.tokens.issue(
            subject=f"CS|CSAK{key_id}",
            role=row.role,
            base=base,
            audience=audience if isinstance(audience, str) else None,
        )
        self._audit.write(operation="authorise", subject=f"CS|CSAK{key_id}", outcome="allowed")
        return {"accessToken": token, "expiry": expiry}

    def create_access_key(self, name: str, role: str, *, clients: Sequence[UUID] = ()) -> str:
        """Make an access key, bound to `clients` where given; its secret is shown this once."""
        if role not in ROLES:
            raise Refusal(400, f"role is none of {', '.join(ROLES)}")
        key_id = base64.b32encode(secrets.token_bytes(10)).decode()
        secret = base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=")
        with self._db.write() as tx:
            _unique(
                lambda: tx.execute(
                    sa.insert(store.access_keys).values(
                        key_id=key_id,
                        name=name,
                        digest=hashlib.sha256(secret.encode()).digest(),
                        role=role,
                        created_at=datetime.now(UTC),
                    )
                ),
                f"access key {name!r} exists",
            )
            for client in clients:
                tx.execute(sa.insert(store.bindings).values(key_id=key_id, client=client))
        return f"CSAK{key_id}.{secret}"

    def delete_access_key(self, name: str) -> None:
        """Delete an access key by name."""
        with self._db.write() as tx:
            if not tx.execute(sa.delete(store.access_keys).where(store.access_keys.c.name == name)).rowcount:
                raise Refusal(404, "no such access key")

    # data keys

    def generate(self, caller: Caller, body: Json) -> Json:
        """Answer `generate-data-key`."""
        return self._audited("generate-data-key", caller, body, self._generate)

    def retrieve(self, caller: Caller, body: Json) -> Json:
        """Answer `retrieve-data-key`: one bad key fails the request."""
        return self._audited("retrieve-data-key", caller, body, lambda c, b: self._retrieve(c, b, fallible=False))

    def retrieve_fallible(self, caller: Caller, body: Json) -> Json:
        """Answer `retrieve-data-key-fallible`: each key has its own verdict."""
        return self._audited(
            "retrieve-data-key-fallible", caller, body, lambda c, b: self._retrieve(c, b, fallible=True)
        )

    def load_keyset(self, caller: Caller, body: Json) -> Json:
        """Answer `load-keyset`: the index material, stable and equal for all clients."""
        return self._audited("load-keyset", caller, body, self._load_keyset)

    def _generate(self, caller: Caller, body: Json) -> Json:
        caller.require("data_key:generate")
        keyset, share = self._open(caller, body)
        keys = request.keys(body, caller, with_tag=False)
        tags = [material.make_tags(keyset, key.version, [key.item])[0] for key in keys]
        answer = []
        for key, tag, seed in zip(keys, tags, self._materials(keyset, share, keys, tags), strict=True):
            item: Json = {"key_material": seed, "tag": base64.b64encode(tag).decode()}
            if key.policy is not None:
                item["decryption_policy"] = key.policy
            answer.append(item)
        return {"keys": answer}

    def _retrieve(self, caller: Caller, body: Json, *, fallible: bool) -> Json:
        keys_only_canary = "data_key:retrieve" not in caller.scopes
        if keys_only_canary and "writer" not in caller.roles:
            caller.require("data_key:retrieve")
        keyset, share = self._open(caller, body)
        keys = request.keys(body, caller, with_tag=True)
        verdicts: list[str | None] = []
        for key in keys:
            try:
                if keys_only_canary and key.item.descriptor != CANARY:
                    caller.require("data_key:retrieve")
                material.check_tag(keyset, key.version, key.item)
                if not key.is_satisfied:
                    raise Refusal(403, "Context did not satisfy lock requirements")
                verdicts.append(None)
            except Refusal as exc:
                if not fallible:
                    raise
                verdicts.append(str(exc))
        good = [key for key, verdict in zip(keys, verdicts, strict=True) if verdict is None]
        seeds = iter(self._materials(keyset, share, good, [key.item.tag for key in good]))
        answer: list[Json] = []
        for verdict in verdicts:
            item: Json = {"key_material": next(seeds)} if verdict is None else {}
            answer.append(({"Ok": item} if verdict is None else {"Err": verdict}) if fallible else item)
        return {"keys": answer}

    def _load_keyset(self, caller: Caller, body: Json) -> Json:
        if "writer" not in caller.roles:
            caller.require("data_key:retrieve")
        keyset, share = self._open(caller, body)
        row = self._db.one(sa.select(store.keysets).where(store.keysets.c.id == keyset.keyset))
        seed = base64.b64encode(material.index_material(keyset, share)).decode()
        return {"partial_index_key": {"key_material": seed}, "dataset": _keyset_json(row)}

    def _materials(
        self, keyset: KeysetSecrets, share: KeySet, keys: Sequence[request.ParsedKey], tags: Sequence[bytes]
    ) -> list[str]:
        if not keys:
            return []
        encoded = base64.b64encode(material.materials(keyset, share, [key.item for key in keys], tags)).decode()
        return [encoded[i : i + 704] for i in range(0, len(encoded), 704)]

    def _open(self, caller: Caller, body: Json) -> tuple[KeysetSecrets, KeySet]:
        """Return the keyset's secrets and the client's share, or refuse: unknown, unbound, disabled, not granted."""
        client = self._client(caller, body)
        reference = request.keyset_reference(body)
        column = store.keysets.c.name if isinstance(reference, str) else store.keysets.c.id
        row = self._db.one(sa.select(store.keysets).where(column == (reference or client.default_keyset)))
        granted = row is not None and self._db.one(
            sa.select(store.grants).where(store.grants.c.client == client.id, store.grants.c.keyset == row.id)
        )
        if row is None or not granted:
            raise Refusal(404, "no such keyset, or the client has no grant for it")
        if row.is_disabled:
            raise Refusal(403, f"Keyset disabled: {row.name}")
        return self._secrets(row), self._share(row, client)

    def _client(self, caller: Caller, body: Json) -> sa.Row[Any]:
        client_id = request.identity(body.get("client_id"), "client_id")
        row = self._db.one(sa.select(store.clients).where(store.clients.c.id == client_id))
        if row is None:
            raise Refusal(404, "no such client")
        if row.region != self.region:
            raise Refusal(403, "the client is of another region")
        key_id = caller.subject.removeprefix("CS|CSAK")
        bound = [b.client for b in self._db.rows(sa.select(store.bindings).where(store.bindings.c.key_id == key_id))]
        known = self._db.one(sa.select(store.access_keys).where(store.access_keys.c.key_id == key_id))
        if known is None:
            raise Refusal(401, "the access key has been deleted")
        if bound and client_id not in bound:
            raise Refusal(403, "the access key is bound to another client")
        return row

    def _secrets(self, row: sa.Row[Any]) -> KeysetSecrets:
        opened = [self._sealer.open(getattr(row, name), what=f"keyset {row.id} {name}") for name in ("k_msg", "k_tag")]
        return KeysetSecrets(row.id, *opened)

    def _share(self, keyset: sa.Row[Any], client: sa.Row[Any]) -> KeySet:
        base = KeySet.from_cbor(self._sealer.open(keyset.base, what=f"keyset {keyset.id} base"))
        relation = KeySet.from_cbor(self._sealer.open(client.relation, what=f"client {client.id} relation"))
        return KeySet(then(base.p1, relation.p1), relation.p2, then(base.p3, relation.p3))

    # keysets, clients, grants

    def create_keyset(self, name: str, description: str) -> Json:
        """Make a keyset; nobody has a grant for it yet."""
        request.text(name, "name", longest=64, shortest=1)
        if not all(c.isascii() and (c.isalnum() or c in "_-/") for c in name) or name.lower() == "default":
            raise Refusal(400, "name is not 1-64 of A-Za-z0-9_-/, or is reserved")
        identity = uuid4()
        with self._db.write() as tx:
            _unique(lambda: self._insert_keyset(tx, identity, name, description), f"keyset {name!r} exists")
        return _keyset_json(self._keyset(identity))

    def _insert_keyset(
        self, tx: sa.Connection, identity: UUID, name: str, description: str, *, is_default: bool = False
    ) -> None:
        def sealed(what: str, secret: bytes) -> bytes:
            return self._sealer.seal(secret, what=f"keyset {identity} {what}")

        tx.execute(
            sa.insert(store.keysets).values(
                id=identity,
                name=name,
                description=description,
                is_disabled=False,
                is_default=is_default,
                k_msg=sealed("k_msg", secrets.token_bytes(32)),
                k_tag=sealed("k_tag", secrets.token_bytes(32)),
                base=sealed("base", KeySet.random().to_cbor()),
            )
        )

    def list_keysets(self, *, show_disabled: bool) -> list[Json]:
        """Return all keysets by name."""
        rows = self._db.rows(sa.select(store.keysets).order_by(store.keysets.c.name))
        return [_keyset_json(row) for row in rows if show_disabled or not row.is_disabled]

    def set_disabled(self, keyset: UUID | str, disabled: bool) -> None:
        """Disable or enable a keyset, from the next request on."""
        row = self._keyset(keyset)
        with self._db.write() as tx:
            tx.execute(sa.update(store.keysets).where(store.keysets.c.id == row.id).values(is_disabled=disabled))

    def grant(self, client: UUID, keyset: UUID | str) -> None:
        """Give a client a keyset."""
        row = self._keyset(keyset)
        if self._db.one(sa.select(store.clients).where(store.clients.c.id == client)) is None:
            raise Refusal(404, "no such client")
        with self._db.write() as tx:
            _unique(lambda: tx.execute(sa.insert(store.grants).values(client=client, keyset=row.id)), "already granted")

    def revoke(self, client: UUID, keyset: UUID | str) -> None:
        """Take a keyset from a client, from the next request on."""
        row = self._keyset(keyset)
        where = (store.grants.c.client == client, store.grants.c.keyset == row.id)
        with self._db.write() as tx:
            if not tx.execute(sa.delete(store.grants).where(*where)).rowcount:
                raise Refusal(404, "no such grant")

    def enrol(
        self,
        name: str,
        *,
        p2: Permutation,
        relation: tuple[Permutation, Permutation] | None,
        via: UUID | None,
        created_by: str,
        keyset: UUID | str = "default",
    ) -> UUID:
        """
        Enrol a client whose key was made on its own side.

        Args:
            name: unique in the workspace.
            p2: the new client's `p2_from`; all that the authority learns of its key.
            relation: (of 16, of 33) to the client `via`; None for the workspace's first client.
            via: an existing client.
            created_by: the subject that asked.
            keyset: its default keyset, granted at once.
        """
        if (via is None) != (relation is None):
            raise Refusal(400, "a relation goes with the client that it relates to")
        row = self._keyset(keyset)
        total = _IDENTITY if relation is None or via is None else self._compose(via, relation)
        identity = uuid4()
        sealed = self._sealer.seal(KeySet(total[0], p2, total[1]).to_cbor(), what=f"client {identity} relation")
        with self._db.write() as tx:
            if via is None and tx.execute(sa.select(sa.func.count()).select_from(store.clients)).scalar_one():
                raise Refusal(409, "the workspace has a first client; enrol via an existing one")
            values = {"id": identity, "name": name, "description": "", "default_keyset": row.id, "region": self.region}
            _unique(
                lambda: tx.execute(
                    sa.insert(store.clients).values(**values, via=via, relation=sealed, created_by=created_by)
                ),
                f"client {name!r} exists",
            )
            tx.execute(sa.insert(store.grants).values(client=identity, keyset=row.id))
        return identity

    def _compose(self, via: UUID, relation: tuple[Permutation, Permutation]) -> tuple[Permutation, Permutation]:
        row = self._db.one(sa.select(store.clients).where(store.clients.c.id == via))
        if row is None:
            raise Refusal(404, "no such client to enrol via")
        old = KeySet.from_cbor(self._sealer.open(row.relation, what=f"client {via} relation"))
        return then(old.p1, relation[0]), then(old.p3, relation[1])

    def delete_client(self, client: UUID) -> None:
        """Delete a client and those enrolled via it, from the next request on."""
        doomed, todo = [], [client]
        while todo:
            current = todo.pop()
            doomed.append(current)
            todo += [r.id for r in self._db.rows(sa.select(store.clients.c.id).where(store.clients.c.via == current))]
        with self._db.write() as tx:
            if not tx.execute(sa.delete(store.clients).where(store.clients.c.id.in_(doomed))).rowcount:
                raise Refusal(404, "no such client")

    def list_clients(self) -> list[Json]:
        """Return all clients with their keysets."""
        granted = self._db.rows(sa.select(store.grants))
        return [
            {
                "id": str(row.id),
                "keyset_id": [str(g.keyset) for g in granted if g.client == row.id],
                "name": row.name,
                "description": row.description,
                "created_by": row.created_by,
                "via": str(row.via) if row.via else None,
            }
            for row in self._db.rows(sa.select(store.clients).order_by(store.clients.c.name))
        ]

    def _keyset(self, reference: UUID | str) -> sa.Row[Any]:
        column = store.keysets.c.name if isinstance(reference, str) else store.keysets.c.id
        row = self._db.one(sa.select(store.keysets).where(column == reference))
        if row is None:
            raise Refusal(404, "no such keyset")
        return row

    def _audited(self, operation: str, caller: Caller, body: Json, act: Callable[[Caller, Json], Json]) -> Json:
        outcome, started = "allowed", time.perf_counter()
        try:
            return act(caller, body)
        except Refusal as exc:
            outcome = f"refused {exc.status}"
            raise
        finally:
            self._audit.derivation(operation, caller.subject, body, outcome, time.perf_counter() - started)


def _keyset_json(row: Any) -> Json:
    return {
        "id": str(row.id),
        "name": row.name,
        "description": row.description,
        "is_disabled": row.is_disabled,
        "is_default": row.is_default,
    }


def _unique(act: Callable[[], object], message: str) -> None:
    try:
        act()
    except IntegrityError as exc:
        raise Refusal(409, message) from exc
