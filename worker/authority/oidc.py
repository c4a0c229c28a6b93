"""Tokens of an identity provider: what they claim, and then the signature."""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from worker.authority.refusal import Refusal

_SUBJECT_CHARACTERS = 255
"""OpenID Connect Core 2: a `sub` must not be longer; it stands in rows and on lines."""
_ALGORITHMS = ["RS256", "ES256", "EdDSA"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a token claims, unverified: enough to refuse it, never to let it in."""

    kid: str | None
    claims: dict[str, Any]


def claimed(token: str, provider: dict[str, Any]) -> Claimed:
    """Read a token and refuse what no signature could mend, so that garbage costs no fetch; raises a 401."""
    header, claims = (_part(token, at) for at in (0, 1))
    _check(claims, provider)
    kid = header.get("kid")
    if header.get("alg") not in _ALGORITHMS or not (kid is None or isinstance(kid, str)):
        raise Refusal(401, "the identity provider's token is not valid")
    return Claimed(kid, claims)


def subject_of(token: str, provider: dict[str, Any], keys: dict[str, Any]) -> str:
    """Return the verified `sub`; raises a 401 for a bad token."""
    try:
        claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=_ALGORITHMS).claims  # type: ignore[arg-type]
    except (JoseError, ValueError, TypeError, KeyError):
        raise Refusal(401, "the identity provider's token is not valid") from None
    return _check(claims, provider)


def _check(claims: dict[str, Any], provider: dict[str, Any]) -> str:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    now = time.time()
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    if claims.get("iss") != provider["issuer"] or provider["audience"] not in audiences:
        raise Refusal(401, "the identity provider's token is for another issuer or audience")
    if not isinstance(expires, (int, float)) or not isinstance(begins, (int, float)) or not begins <= now < expires:
        raise Refusal(401, "the identity provider's token is not valid now")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise Refusal(401, "the identity provider's token names no subject")
    if len(subject) > _SUBJECT_CHARACTERS or not subject.isprintable():
        raise Refusal(401, f"a subject has at most {_SUBJECT_CHARACTERS} characters, all of them printable")
    if subject.startswith("CSAK"):
        raise Refusal(401, "a subject that begins with CSAK could be taken for an access key")
    return subject


def _part(token: str, at: int) -> dict[str, Any]:
    parts = token.split(".")
    try:
        value = orjson.loads(base64.urlsafe_b64decode(parts[at] + "=" * (-len(parts[at]) % 4)))
    except (binascii.Error, ValueError, IndexError):
        value = None
    if len(parts) != 3 or not isinstance(value, dict):
        raise Refusal(401, "the identity provider's token is not valid")
    return value
