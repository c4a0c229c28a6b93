"""A caller of an authority from outside: one access key, JSON calls; for the command line and for tests."""

from __future__ import annotations

import json
import ssl
from functools import lru_cache
from typing import Any

import httpx

from worker.errors import ConfigError, KeyAccessDenied, KeyServiceUnavailable

_TIMEOUT_S = 10
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Remote:
    """
    Calls an authority with a service token of an access key; follows no redirect and uses no proxy.

    Args:
        base_url: the authority's; https, or http on this machine.
        access_key: exchanged for a token at the first call, and again where the token has run out.

    Raises:
        ConfigError: plain http to another machine.
        KeyAccessDenied: the authority refuses; the message is its reason.
        KeyServiceUnavailable: it does not answer.
    """

    def __init__(self, base_url: str, access_key: str) -> None:
        url = httpx.URL(base_url)
        if url.scheme not in ("http", "https"):
            raise ConfigError("the authority's address begins with neither http nor https")
        if url.scheme == "http" and url.host not in _LOOPBACK:
            raise ConfigError(f"the authority's address {base_url!r} is plain http to another machine; use https")
        self._base = base_url.rstrip("/") + "/"
        self._access_key = access_key
        self._token = ""
        self.headers: dict[str, str] = {}
        """Of the last answer."""

    def __call__(self, endpoint: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        """Send one request; returns the answer's JSON."""
        if not self._token:
            self._token = self._send("api/authorise", {"accessKey": self._access_key}, "POST")["accessToken"]
        return self._send(endpoint, body, method)

    def _send(self, endpoint: str, body: dict[str, Any] | None, method: str) -> Any:
        headers = {"content-type": "application/json", "user-agent": "residency-worker"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        try:
            with httpx.Client(trust_env=False, follow_redirects=False, timeout=_TIMEOUT_S, verify=_trusted()) as client:
                reply = client.request(method, self._base + endpoint, content=data, headers=headers)
        except httpx.HTTPError as exc:
            raise KeyServiceUnavailable(f"{endpoint}: the authority does not answer ({type(exc).__name__})") from exc
        if reply.status_code == 429 or reply.status_code >= 500:
            raise KeyServiceUnavailable(f"{endpoint}: {reply.status_code} {reply.text[:1000]}")
        if not reply.is_success:
            raise KeyAccessDenied(f"{endpoint}: {reply.status_code} {reply.text[:1000]}")
        self.headers = dict(reply.headers)
        try:
            return reply.json()
        except ValueError as exc:
            raise KeyServiceUnavailable(f"{endpoint}: the answer is no JSON; is a proxy in between?") from exc


@lru_cache(1)
def _trusted() -> ssl.SSLContext:
    """The system's authorities; reading them takes longer than a call."""
    return ssl.create_default_context()
