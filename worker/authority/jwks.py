"""An identity provider's keys: fetched by one request for all, on threads of their own, and remembered either way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from worker.authority.refusal import Refusal
from worker.http_client import open_client

FRESH_S = 300.0
"""How long keys are believed without asking again."""
RETRY_S = 30.0
"""How long after an attempt a key that is not among them does not make us ask again."""
_TOTAL_S = 3.0
_STEP_S = 2.0
_BYTES = 256 * 1024
_THREADS = 4

Fetch = Callable[[str], dict[str, Any]]


@dataclass(slots=True)
class _Known:
    keys: dict[str, Any] | None = None
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")
    task: asyncio.Task[None] | None = None


class ProviderKeys:
    """
    Keys by the address they are at; used from one event loop.

    A token of an unknown key costs no fetch within `RETRY_S` of the last, and a provider that does not answer costs
    one at a time; what it gave before goes on being used.

    Args:
        fetch: reads a key set from an address; raises `ValueError` or `httpx.HTTPError`.
        clock: monotonic seconds.
    """

    def __init__(self, fetch: Fetch | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch or fetch_keys
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "jwks")

    async def get(self, provider: dict[str, Any], kid: str | None) -> dict[str, Any]:
        """Return a provider's keys, which `kid` may not be among; raises a 503 where there are none to be had."""
        given: dict[str, Any] | None = provider["jwks"]
        if given is not None:
            return given
        known = self._known.setdefault(provider["jwks_uri"], _Known())
        now = self._clock()
        if known.keys is not None and now - known.fetched_at < FRESH_S and _has(known.keys, kid):
            return known.keys
        if now - known.tried_at >= RETRY_S or known.task is not None:
            if known.task is None:
                known.tried_at = now
                known.task = asyncio.create_task(self._renew(provider["jwks_uri"], known))
            await asyncio.shield(known.task)
        if known.keys is None:
            raise Refusal(503, "the identity provider's keys can't be fetched")
        return known.keys

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _renew(self, uri: str, known: _Known) -> None:
        try:
            fetching = asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, uri)
            known.keys = await asyncio.wait_for(fetching, _TOTAL_S)
            known.fetched_at = self._clock()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError):
            # What was known goes on serving; the address is asked again after a while.
            pass
        finally:
            known.task = None


def fetch_keys(uri: str) -> dict[str, Any]:
    """Read a key set within a bound of time and size; follows no redirect and uses no proxy."""
    until = time.monotonic() + _TOTAL_S
    received = bytearray()
    with (
        open_client(timeout_s=_STEP_S) as client,
        client.stream("GET", uri) as reply,
    ):
        reply.raise_for_status()
        for chunk in reply.iter_bytes():
            received += chunk
            if len(received) > _BYTES or time.monotonic() > until:
                raise ValueError("the provider's keys take too long or are too large")
    keys = orjson.loads(bytes(received))
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), list):
        raise ValueError("the provider's answer is no key set")
    return keys


def _has(keys: dict[str, Any], kid: str | None) -> bool:
    return kid is None or any(isinstance(k, dict) and k.get("kid") == kid for k in keys["keys"])
