"""Service tokens: RS256, issued for an access key or an OIDC token, verified on every request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import time
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import orjson
import structlog
from cachetools import LRUCache
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey
from sqlalchemy.exc import SQLAlchemyError

from worker.authority import oidc, schema
from worker.authority.access import Caller, hash_secret
from worker.authority.jwks import ProviderKeys
from worker.authority.limits import LimitOptions
from worker.authority.material import framed
from worker.authority.people import ACCESS_KEY_SUBJECT, rights_of_subject
from worker.authority.refusal import Refusal
from worker.authority.rights import Rights
from worker.authority.store import Row, Store

LIFETIME_S = 900
_LEEWAY_S = 60
_NONCE_BYTES = 16
_USE_GRAIN_S = 60
"""How exact an access key's last use is; fewer writes for busy ones."""
_log = structlog.get_logger(__name__)


class Tokens:
    """
    Issues and verifies the tokens of one authority.

    Args:
        store: signing keys, access keys, providers.
        base_url: of this authority, with a slash at its end; the issuer and the ZeroKMS host of every token.
        limits: of a request, which every token says.
    """

    def __init__(self, store: Store, base_url: str, limits: LimitOptions) -> None:
        self._store, self._limits = store, limits
        self.base_url = base_url
        self.provider_keys = ProviderKeys()
        if not store.state.signing_keys:
            self._make_key()
        self._ring: dict[str, RSAKey] = {}
        self._set = KeySet([])
        self._verified: LRUCache[bytes, dict[str, Any]] = LRUCache(4096)

    def jwks(self) -> dict[str, Any]:
        """Return the public keys."""
        keys = [{**k.as_dict(private=False), "use": "sig", "alg": "RS256"} for k in self._keys().values()]
        return {"keys": keys}

    @property
    def signing_key(self) -> RSAKey:
        """The newest key, private part included."""
        return list(self._keys().values())[-1]

    def for_access_key(self, key: str) -> dict[str, Any]:
        """Exchange an access key; raises a 401 for an unknown one."""
        row = self._known(key)
        key_id = row["id"]
        self._note_use(row)
        more = {"azp": f"CSAK|{_uuid(key_id)}"}
        return self._issue(row["workspace"], f"CS|CSAK{key_id}", row["role"], _rights_of_key(row), more)

    def for_scraping(self, key: str) -> Caller:
        """Return who an access key speaks for by itself; for metrics alone, which a scraper can't exchange it for."""
        return self._of_access_key(self._known(key))

    async def for_oidc(self, workspace: str, token: str) -> dict[str, Any]:
        """Exchange an identity provider's token; raises a 401 where any check fails, a 403 where it has no role."""
        state = self._store.state
        provider = next((p for p in state.providers.values() if p["workspace"] == workspace), None)
        if provider is None:
            raise Refusal(401, "the workspace trusts no identity provider")
        keys = await self.provider_keys.get(provider, oidc.claimed(token, provider).kid)
        subject = f"CS|{await asyncio.to_thread(oidc.subject_of, token, provider, keys)}"
        rights = rights_of_subject(state, provider, subject)
        if rights is None:
            raise Refusal(403, "Not permitted: the subject has no membership and its provider no default role")
        role = str(state.members.get((workspace, subject), {}).get("role", provider["default_role"]))
        more = {"azp": f"OIDC|{provider['id']}", "client": rights.client}
        return await asyncio.to_thread(self._issue, workspace, subject, role, rights, more)

    def verify(self, text: str) -> Caller:
        """Return who a token speaks for; raises a 401 where it is forged, expired, another's or revoked."""
        digest = hashlib.sha256(text.encode()).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = self._decode(text)
            self._verified[digest] = claims
        now = time.time()
        if now < claims["iat"] - _LEEWAY_S:
            ahead = round(claims["iat"] - now)
            raise Refusal(401, f"token is of {ahead} s ahead of this clock: the replicas' clocks differ, or went back")
        if now >= claims["exp"] + _LEEWAY_S:
            raise Refusal(401, "token has expired")
        return replace(self._caller(claims), standing=lambda: self._caller(claims).rights)

    def is_plausible(self, text: str) -> bool:
        """
        Whether a token is worth looking at while its address is full of wrong ones: without its signature.

        It has been verified before, or has the mark of one that this authority or a replica issued, and has not ended.
        """
        if hashlib.sha256(text.encode()).digest() in self._verified:
            return True
        try:
            payload = text.split(".")[1]
            claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            mark, subject, expires = str(claims["jti"]), str(claims["sub"]), int(claims["exp"])
            own = self._mark(bytes.fromhex(mark)[:_NONCE_BYTES], subject, expires)
        except (ValueError, KeyError, TypeError, IndexError):
            return False
        return hmac.compare_digest(own, mark) and time.time() < expires + _LEEWAY_S

    def _mark(self, nonce: bytes, subject: str, expires: int) -> str:
        text = framed(nonce, subject.encode(), str(expires).encode())
        return (nonce + hmac.digest(self._store.derived(b"token-marks"), text, "sha256")[:_NONCE_BYTES]).hex()

    def _caller(self, claims: dict[str, Any]) -> Caller:
        state, workspace, subject = self._store.state, claims["workspace"], claims["sub"]
        readable = {k: v for k, v in claims.items() if k in ("sub", "azp", "org_id", "workspace")}
        is_key = claims["azp"].startswith("CSAK|")
        if workspace not in state.workspaces or (workspace, subject) in state.blocked:
            raise Refusal(401, "the subject of this token is blocked")
        if is_key:
            row = state.access_keys.get(subject.removeprefix(ACCESS_KEY_SUBJECT))
            if row is None or row["workspace"] != workspace:
                raise Refusal(401, "the access key of this token has been deleted")
            return Caller(workspace, subject, _rights_of_key(row), row["id"], readable)
        provider = state.providers.get(claims["azp"].removeprefix("OIDC|"))
        if provider is None or provider["workspace"] != workspace or subject.startswith(ACCESS_KEY_SUBJECT):
            raise Refusal(401, "the identity provider of this token has been removed")
        rights = rights_of_subject(state, provider, subject)
        # A token derives for the client it was issued for, whatever its subject has become since.
        if rights is None or rights.client != claims.get("client"):
            raise Refusal(401, "the role or the client of this token's subject has changed; exchange it again")
        return Caller(workspace, subject, rights, None, readable)

    def _of_access_key(self, row: Row) -> Caller:
        subject = f"{ACCESS_KEY_SUBJECT}{row['id']}"
        if (row["workspace"], subject) in self._store.state.blocked:
            raise Refusal(401, "the subject is blocked")
        return Caller(row["workspace"], subject, _rights_of_key(row), row["id"], {})

    def _known(self, key: str) -> Row:
        key_id, _, secret = key.removeprefix("CSAK").partition(".")
        row = self._store.state.access_keys.get(key_id)
        known = row["secret_hash"] if row else bytes(32)
        if not hmac.compare_digest(known, hash_secret(secret)) or row is None or not key.startswith("CSAK"):
            raise Refusal(401, "access key is not valid")
        return row

    def _decode(self, text: str) -> dict[str, Any]:
        try:
            token = jwt.decode(text, self._key_set(), algorithms=["RS256"])
        except (JoseError, ValueError, TypeError, KeyError):
            raise Refusal(401, "token is not valid") from None
        claims = token.claims
        if claims.get("region") != str(self._store.region):
            raise Refusal(401, f"token is not of {self._store.region}")
        return claims

    def _issue(self, workspace: str, subject: str, role: str, rights: Rights, more: dict[str, Any]) -> dict[str, Any]:
        if (workspace, subject) in self._store.state.blocked:
            raise Refusal(401, "the subject is blocked")
        client = self._store.state.clients.get(rights.client or "")
        quotas = () if client is None else (client["generate_per_minute"], client["retrieve_per_minute"])
        now = int(time.time())
        claims = {
            "iss": self.base_url,
            "sub": subject,
            "aud": self.base_url,
            "iat": now,
            "exp": now + LIFETIME_S,
            "jti": self._mark(os.urandom(_NONCE_BYTES), subject, now + LIFETIME_S),
            "workspace": workspace,
            "org_id": workspace,
            "scope": sorted(rights.scopes),
            "role_set": [role],
            "region": str(self._store.region),
            "incarnation": self._store.head.incarnation,
            "services": {"zerokms": self.base_url},
            "keys_per_request": self._limits.fitting(*quotas),
            **more,
        }
        if client is not None and client["needs_reason"]:
            # So that a reader refuses by itself what would be refused here; the client's own row decides.
            claims["reason_required"] = True
        key = self.signing_key
        text = jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key, algorithms=["RS256"])
        return {"accessToken": text, "expiry": claims["exp"]}

    def _note_use(self, key: Row) -> None:
        now = time.time()
        # A clock that was put back must not keep it at what was the future.
        if key["last_used_at"] is not None and abs(now - key["last_used_at"]) < _USE_GRAIN_S:
            return
        try:
            self._store.note(schema.access_keys, key["id"], {"last_used_at": now})
        except SQLAlchemyError as exc:
            # It informs an admin and decides nothing: a token is not refused for it.
            _log.warning("last_use_not_written", key=key["id"], cause=type(exc).__name__)

    def _keys(self) -> dict[str, RSAKey]:
        """Return the keys that the store has now, oldest first: another replica may have made one."""
        rows, opened = self._store.state.signing_keys, self._store.sealer.open
        if [row["kid"] for row in rows] != list(self._ring):
            self._ring = {
                row["kid"]: RSAKey.import_key(opened(row["sealed"], what=f"signing/{row['kid']}"), {"kid": row["kid"]})
                for row in rows
            }
        return self._ring

    def _key_set(self) -> KeySet:
        keys = self._keys()
        if len(self._set.keys) != len(keys) or [k.kid for k in self._set.keys] != list(keys):
            self._set = KeySet([*keys.values()])
        return self._set

    def _make_key(self) -> None:
        key = RSAKey.generate_key(2048, auto_kid=True)
        kid = str(key.kid)
        sealed = self._store.sealer.seal(key.as_pem(private=True), what=f"signing/{kid}")
        values = {"kid": kid, "sealed": sealed, "created_at": time.time()}
        self._store.write(lambda t: t.insert(schema.signing_keys, values))


def _uuid(key_id: str) -> UUID:
    """A uuid for an access key: the protocol's `azp` has nothing else in its place, and clients parse it."""
    return uuid5(NAMESPACE_OID, key_id)


def _rights_of_key(row: Row) -> Rights:
    return Rights.of(row["role"], row["scopes"], row["client"], row["keysets"])
