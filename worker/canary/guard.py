"""A key service that is believed only after its keyset's canary has opened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from worker.errors import KeyServiceUnavailable
from worker.model import Audit, DataKey, KeyRefused, KeyService, KeySpec, RetrieveRequest


class GuardedKeyService:
    """
    Opens the canary of a keyset before its first key is used, and again after every outage and reconnect.

    A key that came over a connection opened since the last canary is handed out only once the canary has opened.

    Args:
        service: the one that is guarded.
        check: opens the canary of a keyset (name, uuid text or None), past this guard; raises `CanaryError`.
        connections: how many connections the service has opened; behind a new one may be another authority.
    """

    def __init__(
        self, service: KeyService, check: Callable[[str | None], None], *, connections: Callable[[], int] = lambda: 0
    ) -> None:
        self._service, self._check, self._connections = service, check, connections
        self._lock = threading.Lock()
        self._believed: dict[str | None, int] = {}

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        """Return one fresh data key per request; see `KeyService`. Raises `CanaryError` besides."""
        keysets = {request.keyset for request in requests}
        # Before, so that a wrong authority is asked for nothing; after, for what was opened to ask.
        self._believe(keysets)
        try:
            keys = self._service.generate(requests, audit)
        except KeyServiceUnavailable:
            self._doubt()
            raise
        try:
            self._believe(keysets)
        except BaseException:
            for key in keys:
                key.wipe()
            raise
        return keys

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        """Return each request's data key or refusal; reading needs no canary, a wrong key opens nothing."""
        try:
            return self._service.retrieve(requests, audit)
        except KeyServiceUnavailable:
            self._doubt()
            raise

    def _believe(self, keysets: set[str | None]) -> None:
        if all(self._believed.get(keyset) == self._connections() for keyset in keysets):
            return
        with self._lock:
            for keyset in keysets:
                # Read first: a connection that the check itself opens is looked at next time.
                seen = self._connections()
                if self._believed.get(keyset) != seen:
                    self._check(keyset)
                    self._believed = {**self._believed, keyset: seen}

    def _doubt(self) -> None:
        with self._lock:
            self._believed = {}
