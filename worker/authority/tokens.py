"""
Service tokens: RS256 JWTs with a key id, and the JWKS that verifies them.

Source: protocol 3.2.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from worker.authority.refusal import Refusal

LIFETIME_S = 900
_LEEWAY_S = 60

_ALL = {
    "dataset": ("create", "list", "disable", "enable", "grant", "modify", "revoke"),
    "client": ("create", "list", "delete"),
    "data_key": ("generate", "retrieve"),
    "access_key": ("create", "list", "delete", "update"),
    "actor": ("create", "list", "delete"),
}
_DATASET = tuple(f"dataset:{verb}" for verb in _ALL["dataset"])
ROLES: dict[str, tuple[str, ...]] = {
    "admin": tuple(f"{noun}:{verb}" for noun, verbs in _ALL.items() for verb in verbs),
    "control": (*_DATASET, "client:list"),
    "member": ("dataset:list", "client:create", "data_key:generate", "data_key:retrieve"),
    "writer": ("dataset:list", "data_key:generate"),
}
"""Permissions by role; `writer` may besides retrieve the canary, which the data-key service decides."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a verified token says is calling."""

    subject: str
    scopes: frozenset[str]
    roles: frozenset[str]
    claims: dict[str, Any]

    def require(self, scope: str) -> None:
        """Raise `Refusal` without the permission."""
        if scope not in self.scopes:
            raise Refusal(403, f"Not permitted: {scope}")


def new_key() -> bytes:
    """Make a signing key, PKCS#8 DER."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class TokenIssuer:
    """
    Issues and verifies the tokens of one workspace in one region.

    Args:
        key: the signing key, PKCS#8 DER.
        workspace: its id. region: the authority's own.
    """

    def __init__(self, key: bytes, *, workspace: str, region: str) -> None:
        pem = serialization.load_der_private_key(key, None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._key = RSAKey.import_key(pem)
        self._key.ensure_kid()
        self._workspace, self._region = workspace, region

    def jwks(self) -> dict[str, Any]:
        """Return the public keys."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "use": "sig", "alg": "RS256"}]}

    def issue(self, *, subject: str, role: str, base: str, audience: str | None = None) -> tuple[str, int]:
        """Return a token and its absolute expiry in seconds; `base` is this authority's own URL."""
        now = int(time.time())
        claims = {
            "workspace": self._workspace,
            "iss": base,
            "sub": subject,
            "aud": audience or base,
            "iat": now,
            "exp": now + LIFETIME_S,
            "scope": list(ROLES[role]),
            "role_set": [role],
            "services": {"zerokms": base},
            "org_id": f"org-{self._workspace}",
            "region": self._region,
        }
        token = jwt.encode({"alg": "RS256", "kid": self._key.kid, "typ": "JWT"}, claims, self._key)
        return token, now + LIFETIME_S

    def verify(self, text: str) -> Caller:
        """Return who is calling; raises `Refusal` for anything but our own valid token."""
        try:
            token = jwt.decode(text, self._key, algorithms=["RS256"])
            jwt.JWTClaimsRegistry(
                leeway=_LEEWAY_S, exp={"essential": True}, sub={"essential": True}, org_id={"essential": True}
            ).validate(token.claims)
        except (JoseError, ValueError) as exc:
            raise Refusal(401, "the token is not valid") from exc
        claims = token.claims
        if claims.get("workspace") != self._workspace or claims.get("region") != self._region:
            raise Refusal(401, "the token is of another workspace or region")
        scope = claims.get("scope")
        scopes = scope if isinstance(scope, list) else [scope]
        return Caller(str(claims["sub"]), frozenset(map(str, scopes)), frozenset(claims.get("role_set", ())), claims)
