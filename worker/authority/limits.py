"""What a request, a client and connections may take; and quotas of keys a minute, per client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cachetools import LRUCache
from pydantic import BaseModel, ConfigDict

from worker.authority.refusal import Refusal


class LimitOptions(BaseModel):
    """
    What one request and one client may ask.

    Args:
        keys_per_request: the most keys in one request.
        body_bytes: the longest body.
        open_body_bytes: the longest body of a request that takes no token.
        body_s: how long a body may take to arrive.
        generate_per_minute: keys one client may make in a minute.
        retrieve_per_minute: keys one client may retrieve in a minute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys_per_request: int = 1000
    body_bytes: int = 4 * 1024 * 1024
    open_body_bytes: int = 64 * 1024
    body_s: float = 10.0
    generate_per_minute: int = 60_000_000
    retrieve_per_minute: int = 60_000_000

    def fitting(self, *quotas: int | None) -> int:
        """Return the most keys in one request that a client with quotas of its own, None for ours, may ask for."""
        own = [ours if its is None else its for ours, its in zip(self._quotas, quotas or (None, None), strict=True)]
        # A worker's canary goes with every request: of one key none would be of use.
        return max(2, min(self.keys_per_request, *own))

    @property
    def _quotas(self) -> tuple[int, int]:
        return self.generate_per_minute, self.retrieve_per_minute


class ConnectionLimits(BaseModel):
    """
    What connections may take.

    Args:
        header_s: from a connection's beginning, or a request's first byte, to the end of its head; TLS likewise.
        idle_s: between two requests; longer than clients keep a connection (90 s in the published one).
        unread_s: until what is sent is read so far that there is room for more.
        malformed_s: until a connection ends on which something came that is no request.
        per_address: connections of one address; a proxy in front needs more.
        total: of all.
        guesses: wrong credentials of an address that are answered at once.
        guesses_per_second: how fast these come back.
        penalty_s: how long an answer to a further one waits, half more or less.
        waiting_guesses: as many of one address wait no longer than that; of more, each waits in proportion, unread.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    header_s: float = 5.0
    idle_s: float = 95.0
    unread_s: float = 30.0
    malformed_s: float = 2.0
    per_address: int = 1000
    total: int = 2000
    guesses: int = 60
    guesses_per_second: float = 5.0
    penalty_s: float = 4.0
    waiting_guesses: int = 64


class Quota:
    """A token bucket per client that holds one minute's worth; thread-safe."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._left: LRUCache[str, tuple[float, float]] = LRUCache(100_000)

    def take(self, client: str, count: int, own: int | None = None) -> None:
        """
        Take `count` keys, of `own` a minute where the client has a quota of its own.

        Raises a 429 for too many, which says when they are there; more than a minute's at once never are.
        """
        per_minute = self._per_minute if own is None else own
        if count > per_minute:
            raise Refusal(
                429,
                f"{count} keys in one request; this client has {per_minute} a minute: ask for fewer at once",
                retry_after_s=60,
            )
        with self._lock:
            now = self._clock()
            left, since = self._left.get(client, (float(per_minute), now))
            left = min(per_minute, left + (now - since) * per_minute / 60)
            if left < count:
                wait = (count - left) * 60 / per_minute
                raise Refusal(429, "this client's quota of keys a minute is used up", retry_after_s=wait)
            self._left[client] = (left - count, now)
