"""
One authenticated POST to the key service, and the verdict on its answer.

Source: protocol 4.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
import orjson

from worker.errors import (
    ConfigError,
    FatalError,
    KeyAccessDenied,
    KeyServiceThrottled,
    KeyServiceUnavailable,
    SubjectErased,
)
from worker.http_client import silence
from worker.metrics import Metrics
from worker.metrics.traces import OFF
from worker.model.receipts import Receipts
from worker.zerokms.auth import TokenSource, retry_after
from worker.zerokms.refused import ERASED, remedy
from worker.zerokms.token import ServiceToken

AUDIT_ENTRY = "audit-entry"
"""The header in which an authority says where its audit has the request."""
_REFUSALS = (400, 401, 403, 404, 408, 409, 413, 422)
_REASON_CHARACTERS = 200
_YIELD_S = 50e-6
"""Long enough for a waiting thread to take the interpreter, a thousandth of what a request takes."""


class Wire:
    """
    Posts JSON to the key service with a valid service token; thread-safe.

    Args:
        http: the connection pool.
        tokens: where service tokens come from.
        base: the key service's base URL; None takes the one that the service token names.
        in_flight: how many requests may be under way at once, over all threads.
        metrics: where requests are counted.
        receipts: told where the authority's audit has each request.
    """

    def __init__(
        self,
        http: httpx.Client,
        tokens: TokenSource,
        base: str | None,
        *,
        in_flight: int,
        metrics: Metrics | None,
        receipts: Receipts,
    ) -> None:
        self._http, self._tokens, self._base, self._metrics = http, tokens, base, metrics
        self._receipts = receipts
        self._slots = threading.BoundedSemaphore(in_flight)

    def post(self, endpoint: str, body: bytes) -> Any:
        """Return the parsed reply; raises as `post_raw`."""
        return parsed(endpoint, self.post_raw(endpoint, body))

    def post_raw(self, endpoint: str, body: bytes, *, request_id: UUID | None = None) -> bytes:
        """
        Return the reply, which says that it is JSON.

        A token that the service refuses is exchanged anew, once. `request_id` is what the body tells the audit.

        Raises:
            KeyServiceUnavailable: no answer, or 5xx.
            KeyServiceThrottled: 429.
            KeyAccessDenied: 401, 403 or 404.
            ConfigError: 409 or another request that can't succeed as it is.
        """
        traces = OFF if self._metrics is None else self._metrics.traces
        with traces.request(endpoint, request_id) as trace:
            with self._slots:
                token = self._tokens.token()
                reply = self._send(endpoint, body, token, trace)
                if reply.status_code == httpx.codes.UNAUTHORIZED:
                    self._tokens.forget(token)
                    reply = self._send(endpoint, body, self._tokens.token(), trace)
            self._receipts.note(reply.headers.get(AUDIT_ENTRY), request_id)
            # Whoever waits for the slot begins now, not after this thread has derived its keys.
            time.sleep(_YIELD_S)
            return accept(endpoint, reply)

    def _send(self, endpoint: str, body: bytes, token: ServiceToken, trace: Mapping[str, str]) -> httpx.Response:
        base = self._base or token.zerokms
        if base is None:
            raise ConfigError("the service token names no key service; set CS_ZEROKMS_HOST")
        headers = {**trace, "authorization": f"Bearer {token.text}", "content-type": "application/json"}
        started, outcome = time.perf_counter(), "unreachable"
        self._count_in_flight(1)
        try:
            url = f"{base.rstrip('/')}/{endpoint}"
            reply = self._http.post(url, content=body, headers=headers)
            outcome = str(reply.status_code)
        except httpx.HTTPError as exc:
            raise KeyServiceUnavailable(
                f"the key service at {base} (CS_ZEROKMS_HOST, else the region's) does not answer: {silence(exc)}"
            ) from exc
        finally:
            self._count_in_flight(-1)
            seconds = time.perf_counter() - started
            self._count(endpoint, outcome, seconds)
        return reply

    def _count_in_flight(self, change: int) -> None:
        if self._metrics is not None:
            self._metrics.add("worker_authority_requests_in_flight", change)

    def _count(self, endpoint: str, outcome: str, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.inc("worker_authority_requests_total", endpoint=endpoint, outcome=outcome)
            self._metrics.observe("worker_authority_request_seconds", seconds, endpoint=endpoint)


def parsed(endpoint: str, reply: bytes) -> Any:
    """Return a reply parsed. Raises `KeyServiceUnavailable` where it breaks off: asking again helps."""
    try:
        return orjson.loads(reply)
    except orjson.JSONDecodeError as exc:
        raise KeyServiceUnavailable(f"{endpoint}: the answer ends early or is no JSON") from exc


def accept(endpoint: str, reply: httpx.Response) -> bytes:
    """Return a reply's body, or raise the verdict on it; see `Wire.post_raw`."""
    status = reply.status_code
    if httpx.codes.is_success(status):
        if reply.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise KeyServiceUnavailable(f"{endpoint}: the answer is no JSON; is a proxy in between?")
        return reply.content
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise KeyServiceThrottled(
            f"{endpoint}: the key service wants to be asked less (429): {_reason(reply.text)}",
            retry_after_s=retry_after(reply),
        )
    if status >= 500:
        away = f"{endpoint}: the key service at {reply.url.netloc.decode()} answers {status}"
        raise KeyServiceUnavailable(away, retry_after_s=retry_after(reply))
    if status not in _REFUSALS:
        # Whatever it holds is quoted nowhere: it may be the keys.
        raise FatalError(
            f"{endpoint}: {reply.url.netloc.decode()} answers {status}, as no key service does; is a proxy in between?"
        )
    erased = _erased(reply) if status == httpx.codes.FORBIDDEN else None
    reason = _reason(reply.text if erased is None else erased[0])
    hint = remedy(status, reason)
    message = f"{endpoint}: the key service refuses ({status}): {reason}" + (f"; {hint}" if hint else "")
    if erased is not None:
        raise SubjectErased(message, values=erased[1])
    if status in (401, 403, 404):
        raise KeyAccessDenied(message)
    if status in (400, 409, 422):
        raise ConfigError(message)
    raise FatalError(message)


def _erased(reply: httpx.Response) -> tuple[str, list[tuple[str, str]]] | None:
    """Return the words of a refusal of erased contexts, and the values that it names; None for any other."""
    try:
        body = orjson.loads(reply.content)
        reason, values = body["error"], [(str(name), str(text)) for name, text in body["erased"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return (reason, values) if isinstance(reason, str) and reason.startswith(ERASED) else None


def _reason(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:_REASON_CHARACTERS])
