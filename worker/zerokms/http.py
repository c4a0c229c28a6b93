"""
One authenticated POST to the key service, and the verdict on its answer.

Source: protocol 4.
"""

from __future__ import annotations

import platform
import threading
import time
from typing import Any

import httpx
import orjson

from worker import __version__
from worker.errors import ConfigError, FatalError, KeyAccessDenied, KeyServiceUnavailable
from worker.metrics import Metrics
from worker.zerokms.auth import ServiceToken, TokenSource, retry_after

_REASON_CHARACTERS = 200


def pool(*, connect_timeout_s: float, timeout_s: float, connections: int) -> httpx.Client:
    """Return a connection pool with our user agent; the default agent of a library is refused at the public edge."""
    # Many servers close an idle connection after 5 s; one that we would reuse at that moment is a lost request.
    return httpx.Client(
        timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=4),
        headers={
            "user-agent": f"residency-worker/{__version__} ({platform.system().lower()} {platform.machine()})",
            "accept-encoding": "gzip",
        },
        follow_redirects=False,
    )


class Wire:
    """
    Posts JSON to the key service with a valid service token; thread-safe.

    Args:
        http: the connection pool.
        tokens: where service tokens come from.
        base: the key service's base URL; None takes the one that the service token names.
        in_flight: how many requests may be under way at once, over all threads.
        metrics: where requests are counted.

    `connections` grows with every connection that is opened: behind a new one may be another service.
    """

    def __init__(
        self, http: httpx.Client, tokens: TokenSource, base: str | None, *, in_flight: int, metrics: Metrics | None
    ) -> None:
        self._http, self._tokens, self._base, self._metrics = http, tokens, base, metrics
        self._slots = threading.BoundedSemaphore(in_flight)
        self.connections = 0
        self._pace = _Pace(in_flight)

    def post(self, endpoint: str, body: bytes) -> Any:
        """
        Return the parsed reply.

        A token that the service refuses is exchanged anew, once.

        Raises:
            KeyServiceUnavailable: no answer, 429 or 5xx.
            KeyAccessDenied: 401, 403 or 404.
            ConfigError: 409 or another request that can't succeed as it is.
        """
        with self._slots:
            token = self._tokens.token()
            self._pace.wait()
            reply = self._send(endpoint, body, token)
            if reply.status_code == httpx.codes.UNAUTHORIZED:
                self._tokens.forget(token)
                reply = self._send(endpoint, body, self._tokens.token())
        return _accept(endpoint, reply)

    def _send(self, endpoint: str, body: bytes, token: ServiceToken) -> httpx.Response:
        base = self._base or token.zerokms
        if base is None:
            raise ConfigError("the service token names no key service; set CS_ZEROKMS_HOST")
        headers = {"authorization": f"Bearer {token.text}", "content-type": "application/json"}
        started, outcome = time.perf_counter(), "unreachable"
        self._count_in_flight(1)
        try:
            url = f"{base.rstrip('/')}/{endpoint}"
            reply = self._http.post(url, content=body, headers=headers, extensions={"trace": self._trace})
            outcome = str(reply.status_code)
        except httpx.HTTPError as exc:
            raise KeyServiceUnavailable(f"the key service at {base} does not answer: {type(exc).__name__}") from exc
        finally:
            self._count_in_flight(-1)
            seconds = time.perf_counter() - started
            self._pace.took(seconds)
            self._count(endpoint, outcome, seconds)
        return reply

    def _trace(self, event: str, _info: object) -> None:
        if event == "connection.connect_tcp.started":
            self.connections += 1

    def _count_in_flight(self, change: int) -> None:
        if self._metrics is not None:
            self._metrics.add("worker_authority_requests_in_flight", change)

    def _count(self, endpoint: str, outcome: str, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.inc("worker_authority_requests_total", endpoint=endpoint, outcome=outcome)
            self._metrics.observe("worker_authority_request_seconds", seconds, endpoint=endpoint)


class _Pace:
    """
    Parts the starts of requests that are under way together; thread-safe.

    Requests that start together queue for one another at the authority, end together and start together again, so
    that over a long line its work and the line's delay add up instead of overlapping. Half of what an even spacing
    would be parts them and bounds nothing: it allows twice the rate that the slots can reach.
    """

    def __init__(self, in_flight: int) -> None:
        self._share = 0.5 / in_flight
        self._lock = threading.Lock()
        self._typical_s = self._next = 0.0

    def wait(self) -> None:
        """Wait for this request's turn, at most one request's share of the usual time after the one before."""
        with self._lock:
            now = time.perf_counter()
            at = max(now, self._next)
            self._next = at + self._typical_s * self._share
        if at > now:
            time.sleep(at - now)

    def took(self, seconds: float) -> None:
        """Note how long a request took; an outlier such as a timeout counts for little."""
        with self._lock:
            self._typical_s += 0.2 * (min(seconds, 2 * self._typical_s + 0.1) - self._typical_s)


def _accept(endpoint: str, reply: httpx.Response) -> Any:
    status = reply.status_code
    if httpx.codes.is_success(status):
        if reply.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise KeyServiceUnavailable(f"{endpoint}: the answer is no JSON; is a proxy in between?")
        try:
            return orjson.loads(reply.content)
        except orjson.JSONDecodeError as exc:
            raise KeyServiceUnavailable(f"{endpoint}: the answer ends early or is no JSON") from exc
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
        raise KeyServiceUnavailable(f"{endpoint}: the key service answers {status}", retry_after_s=retry_after(reply))
    message = f"{endpoint}: the key service refuses ({status}): {_reason(reply)}"
    if status in (401, 403, 404):
        raise KeyAccessDenied(message)
    if status in (400, 409, 422):
        raise ConfigError(message)
    raise FatalError(message)


def _reason(reply: httpx.Response) -> str:
    text = reply.text[:_REASON_CHARACTERS]
    return "".join(c if c.isprintable() else " " for c in text)
