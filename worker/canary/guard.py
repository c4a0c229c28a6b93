"""A key service whose keys are believed only together with its keyset's canary."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from worker.canary.canary import DESCRIPTOR
from worker.errors import CanaryError, ConfigError, KeyServiceUnavailable
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyRefused, KeyService, KeySpec, RetrieveRequest

Vouch = Callable[[str | None, Sequence[DataKey]], None]


class GuardedKeyService:
    """
    Asks for a witness with every request, a key under the canary's descriptor, and vouches for it beside the canary.

    What brought a key says nothing of who made it: behind one address, one connection even, several authorities may
    answer. The witness came in the same answer as the keys; asked for again in one request with the canary's key, it
    is the same key only where the authority that gave the keys also gives the canary's.

    Args:
        service: the one that is guarded.
        check: opens the canary of a keyset (name, uuid text or None), or makes it; raises `CanaryError`.
        vouch: asks for a keyset's canary and some witnesses again in one request; raises `CanaryError`.
        keys_per_request: at which number the service begins another request.
        metrics: where witnesses count as wasted keys.

    Raises:
        ConfigError: a request has no room for a key beside its witness.
    """

    def __init__(
        self,
        service: KeyService,
        check: Callable[[str | None], None],
        vouch: Vouch,
        *,
        keys_per_request: int,
        metrics: Metrics | None = None,
    ) -> None:
        if keys_per_request < 2:
            raise ConfigError("keys_per_request must be 2 at least: a canary's witness goes with every request")
        self._service, self._check, self._vouch = service, check, vouch
        self._room, self._metrics = keys_per_request - 1, metrics
        self._lock = threading.Lock()
        self._believed: frozenset[str | None] = frozenset()

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        """Return one fresh data key per request; see `KeyService`. Raises `CanaryError` besides."""
        self._believe(dict.fromkeys(request.keyset for request in requests))
        asked, own = self._with_witnesses(requests)
        try:
            keys = self._service.generate(asked, audit)
            try:
                self._vouch_for(asked, keys, own)
            except BaseException:
                for key in keys:
                    key.wipe()
                raise
        except KeyServiceUnavailable:
            self._doubt()
            raise
        for i in range(len(keys)):
            if i not in own:
                keys[i].wipe()
        if self._metrics is not None:
            self._metrics.inc("worker_keys_total", len(keys) - len(own), event="wasted")
        return [keys[i] for i in own]

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        """Return each request's data key or refusal; reading needs no canary, a wrong key opens nothing."""
        try:
            return self._service.retrieve(requests, audit)
        except KeyServiceUnavailable:
            self._doubt()
            raise

    def _with_witnesses(self, requests: Sequence[KeySpec]) -> tuple[list[KeySpec], dict[int, None]]:
        """Return what to ask for, with a witness in each request of the service, and where the own keys stand in it."""
        asked: list[KeySpec] = []
        own: dict[int, None] = {}
        waiting: dict[str | None, int] = {}
        for request in requests:
            own[len(asked)] = None
            asked.append(request)
            waiting[request.keyset] = waiting.get(request.keyset, 0) + 1
            if waiting[request.keyset] == self._room:
                asked.append(KeySpec(request.keyset, DESCRIPTOR))
                waiting[request.keyset] = 0
        asked += [KeySpec(keyset, DESCRIPTOR) for keyset, count in waiting.items() if count]
        return asked, own

    def _vouch_for(self, asked: Sequence[KeySpec], keys: Sequence[DataKey], own: dict[int, None]) -> None:
        for keyset in dict.fromkeys(spec.keyset for spec in asked):
            at = [i for i, spec in enumerate(asked) if spec.keyset == keyset]
            witnesses = [keys[i] for i in at if i not in own]
            vouched = {witness.request_id for witness in witnesses}
            if any(keys[i].request_id not in vouched for i in at):
                raise CanaryError("the key service gave keys in an answer without a witness; nothing of it is used")
            for start in range(0, len(witnesses), self._room):
                self._vouch(keyset, witnesses[start : start + self._room])

    def _believe(self, keysets: dict[str | None, None]) -> None:
        if self._believed.issuperset(keysets):
            return
        with self._lock:
            for keyset in keysets:
                # First, so that a wrong authority is asked for nothing, and a keyset's first canary is made.
                if keyset not in self._believed:
                    self._check(keyset)
                    self._believed |= {keyset}

    def _doubt(self) -> None:
        with self._lock:
            self._believed = frozenset()
