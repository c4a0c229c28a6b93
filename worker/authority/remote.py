"""A caller of an authority from outside: one access key, JSON calls; for the command line and for tests."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx

from worker.errors import ConfigError, KeyAccessDenied, KeyServiceUnavailable
from worker.http_client import open_client, require_https, silence, url_parts

_TIMEOUT_S = 10
_ADMIN = "give the access key of somebody who has that scope, as an admin's: CS_ADMIN_ACCESS_KEY, or --access-key"


class _TokenRefused(KeyAccessDenied):
    """A 401: the token is not, or no longer, one of this authority's."""


class Remote:
    """
    Calls an authority with a service token of an access key; follows no redirect and uses no proxy.

    Args:
        base_url: the authority's; https, or http on this machine.
        access_key: exchanged for a token at the first call, and again where the token has run out.

    Raises:
        ConfigError: plain http to another machine, or an answer that redirects, which no credential follows.
        KeyAccessDenied: the authority refuses; the message is its reason.
        KeyServiceUnavailable: it does not answer.
    """

    def __init__(self, base_url: str, access_key: str) -> None:
        url = url_parts(base_url, "the authority's address")
        if url.scheme not in ("http", "https"):
            raise ConfigError("the authority's address begins with neither http nor https")
        if "@" in url.netloc:
            raise ConfigError("the authority's address has a user in it; the access key is all that it takes")
        require_https(base_url, "the authority's address")
        self._base = base_url.rstrip("/") + "/"
        self._access_key = access_key
        self._token = ""
        self.headers: dict[str, str] = {}
        """Of the last answer."""

    def __call__(self, endpoint: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        """Send one request; returns the answer's JSON, or a file's bytes."""
        if not self._token:
            self._exchange()
            return self._send(endpoint, body, method)
        try:
            return self._send(endpoint, body, method)
        except _TokenRefused as refused:
            try:
                self._exchange()
            except KeyAccessDenied:
                # Why the token is none any more says more than that there is no other.
                raise refused from None
        return self._send(endpoint, body, method)

    def workspace(self) -> str:
        """Return the workspace of this access key, as its token says."""
        if not self._token:
            self._exchange()
        payload = self._token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["workspace"]).removeprefix("ws:")

    def without_token(self, endpoint: str, body: dict[str, Any]) -> Any:
        """Send one request to an endpoint that takes no token."""
        self._token = ""
        return self._send(endpoint, body, "POST")

    def _exchange(self) -> None:
        self._token = ""
        self._token = self._send("api/authorise", {"accessKey": self._access_key}, "POST")["accessToken"]

    def _send(self, endpoint: str, body: dict[str, Any] | None, method: str) -> Any:
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        try:
            with open_client(timeout_s=_TIMEOUT_S) as client:
                reply = client.request(method, self._base + endpoint, content=data, headers=headers)
        except httpx.HTTPError as exc:
            raise KeyServiceUnavailable(
                f"{endpoint}: the authority at {self._base} does not answer: {silence(exc)}"
            ) from exc
        if reply.status_code == 429 or reply.status_code >= 500:
            raise KeyServiceUnavailable(f"{endpoint}: {reply.status_code} {reply.text[:1000]}")
        if reply.is_redirect:
            raise ConfigError(
                f"{endpoint}: {self._base} answers with a redirect ({reply.status_code}); name the authority itself"
            )
        if not reply.is_success:
            reason = _reason(reply)
            hint = f"; {_ADMIN}" if reason.endswith("is missing") else ""
            denied = _TokenRefused if reply.status_code == httpx.codes.UNAUTHORIZED else KeyAccessDenied
            raise denied(f"{endpoint}: {reply.status_code} {reason}{hint}")
        self.headers = dict(reply.headers)
        if reply.headers.get("content-type") == "application/octet-stream":
            return reply.content
        try:
            return reply.json()
        except ValueError as exc:
            raise KeyServiceUnavailable(f"{endpoint}: the answer is no JSON; is a proxy in between?") from exc


def _reason(reply: httpx.Response) -> str:
    """Return the authority's own words, which tell no secret."""
    try:
        said = reply.json()
    except ValueError:
        said = None
    told = said.get("error") if isinstance(said, dict) else None
    return str(told or reply.text)[:1000]
