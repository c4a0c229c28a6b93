"""A caller of an authority from outside: one access key, JSON calls; for the command line and for tests."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import httpx

from worker.errors import ConfigError, KeyAccessDenied, KeyServiceUnavailable
from worker.http_client import open_client, require_https

_TIMEOUT_S = 10
_REASON_CHARACTERS = 1000


class Remote:
    """
    Calls an authority with a service token of an access key.

    Args:
        base_url: the authority's; https, or http to this machine.
        access_key: exchanged for a token at the first call.

    Raises:
        ConfigError: the address is unusable, or answers with a redirect, which no credential follows.
        KeyAccessDenied: the authority refuses; the message is its reason.
        KeyServiceUnavailable: it does not answer.
    """

    def __init__(self, base_url: str, access_key: str) -> None:
        if urlsplit(base_url).scheme not in ("http", "https"):
            raise ConfigError("the authority's address begins with neither http nor https")
        require_https(base_url, "the authority's address")
        self._base = base_url.rstrip("/") + "/"
        self._access_key = access_key
        self._token = ""

    def __call__(self, endpoint: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        """Send one request; returns the answer's JSON."""
        if not self._token:
            self._token = self._send("api/authorise", {"accessKey": self._access_key}, "POST")["accessToken"]
        return self._send(endpoint, body, method)

    def _send(self, endpoint: str, body: dict[str, Any] | None, method: str) -> Any:
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            with open_client(timeout_s=_TIMEOUT_S) as http:
                reply = http.request(method, self._base + endpoint, json=body, headers=headers)
            status, reason = reply.status_code, reply.text[:_REASON_CHARACTERS]
            if reply.is_success:
                return json.loads(reply.content)
        except (httpx.HTTPError, ValueError) as exc:
            raise KeyServiceUnavailable(f"{endpoint}: the authority does not answer ({type(exc).__name__})") from exc
        if reply.is_redirect:
            raise ConfigError(f"{endpoint}: {self._base} answers with a redirect ({status}); name the authority itself")
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            raise KeyServiceUnavailable(f"{endpoint}: {status} {reason}")
        raise KeyAccessDenied(f"{endpoint}: {status} {reason}")
