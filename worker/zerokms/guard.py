"""A key service that is believed only after its keyset's canary has opened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from worker.errors import KeyServiceUnavailable
from worker.model import Audit, DataKey, KeyRefused, KeyService, KeySpec, RetrieveRequest


class GuardedKeyService:
    """
    Opens the canary of a keyset before its first key is used, and again after every outage.

    Args:
        service: the one that is guarded.
        check: opens the canary of a keyset (name, uuid text or None), past this guard; raises `CanaryError`.
    """

    def __init__(self, service: KeyService, check: Callable[[str | None], None]) -> None:
        self._service, self._check = service, check
        self._lock = threading.Lock()
        self._believed: set[str | None] = set()

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        """Return one fresh data key per request; see `KeyService`. Raises `CanaryError` besides."""
        self._believe({request.keyset for request in requests})
        try:
            return self._service.generate(requests, audit)
        except KeyServiceUnavailable:
            self._doubt()
            raise

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        """Return each request's data key or refusal; reading needs no canary, a wrong key opens nothing."""
        try:
            return self._service.retrieve(requests, audit)
        except KeyServiceUnavailable:
            self._doubt()
            raise

    def _believe(self, keysets: set[str | None]) -> None:
        if keysets <= self._believed:
            return
        with self._lock:
            for keyset in keysets - self._believed:
                self._check(keyset)
                self._believed = self._believed | {keyset}

    def _doubt(self) -> None:
        with self._lock:
            self._believed = set()
