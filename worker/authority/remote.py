"""A caller of an authority from outside: one access key, JSON calls; for the command line and for tests."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from worker.errors import ConfigError, KeyAccessDenied, KeyServiceUnavailable

_TIMEOUT_S = 10


class Remote:
    """
    Calls an authority with a service token of an access key.

    Args:
        base_url: the authority's, http or https.
        access_key: exchanged for a token at the first call.

    Raises:
        KeyAccessDenied: the authority refuses; the message is its reason.
        KeyServiceUnavailable: it does not answer.
    """

    def __init__(self, base_url: str, access_key: str) -> None:
        if urlsplit(base_url).scheme not in ("http", "https"):
            raise ConfigError("the authority's address begins with neither http nor https")
        self._base = base_url.rstrip("/") + "/"
        self._access_key = access_key
        self._token = ""

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
        request = urllib.request.Request(self._base + endpoint, data=data, headers=headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
                return json.loads(reply.read())
        except urllib.error.HTTPError as exc:
            with exc:
                reason = exc.read(1000).decode(errors="replace")
            if exc.code == 429 or exc.code >= 500:
                raise KeyServiceUnavailable(f"{endpoint}: {exc.code} {reason}") from None
            raise KeyAccessDenied(f"{endpoint}: {exc.code} {reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise KeyServiceUnavailable(f"{endpoint}: the authority does not answer ({type(exc).__name__})") from exc
