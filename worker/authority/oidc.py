"""Tokens of an identity provider: signature, issuer, audience and times, keys by URL or given."""

from __future__ import annotations

import time
from typing import Any

import httpx
from cachetools import TTLCache
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from worker.authority.refusal import Refusal
from worker.http_client import open_client

_ALGORITHMS = ["RS256", "ES256", "EdDSA"]
_fetched: TTLCache[str, dict[str, Any]] = TTLCache(64, 300)


def subject_of(token: str, provider: dict[str, Any]) -> str:
    """Return the verified `sub`; raises a 401 for a bad token, a 503 where the provider's keys are out of reach."""
    try:
        claims = _decode(token, provider)
    except (JoseError, ValueError, TypeError, KeyError):
        raise Refusal(401, "the identity provider's token is not valid") from None
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
    return subject


def _decode(token: str, provider: dict[str, Any]) -> dict[str, Any]:
    if provider["jwks"] is not None:
        return jwt.decode(token, KeySet.import_key_set(provider["jwks"]), algorithms=_ALGORITHMS).claims
    uri = provider["jwks_uri"]
    try:
        return jwt.decode(token, KeySet.import_key_set(_keys(uri)), algorithms=_ALGORITHMS).claims
    except (JoseError, ValueError):
        _fetched.pop(uri, None)
        return jwt.decode(token, KeySet.import_key_set(_keys(uri)), algorithms=_ALGORITHMS).claims


def _keys(uri: str) -> Any:
    if uri not in _fetched:
        try:
            with open_client(timeout_s=5) as client:
                reply = client.get(uri)
            reply.raise_for_status()
            _fetched[uri] = reply.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise Refusal(503, "the identity provider's keys can't be fetched") from exc
    return _fetched[uri]
