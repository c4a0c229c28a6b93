"""A key service whose keys are believed only together with its keyset's canary."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

from worker.canary.canary import DESCRIPTOR
from worker.errors import CanaryError, ConfigError, KeyServiceUnavailable
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyRefused, KeyService, KeySpec, RetrieveRequest, SpecRuns, Specs
from worker.native.keys import joined, request_ids, wipe
from worker.zerokms.joining import Joiner

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
        vouch: asks for a keyset's canary and some witnesses again in one request; raises `CanaryError`. Answers that
            come at the same time are vouched for together.
        keys_per_request: says at which number the service begins another request.
        metrics: where witnesses count as wasted keys.
        witness: what a keyset's witness is asked for as.

    Raises:
        ConfigError: a request has no room for a key beside its witness.
    """

    def __init__(
        self,
        service: KeyService,
        check: Callable[[str | None], None],
        vouch: Vouch,
        *,
        keys_per_request: Callable[[], int],
        metrics: Metrics | None = None,
        witness: Callable[[str | None], KeySpec] = lambda keyset: KeySpec(keyset, DESCRIPTOR),
    ) -> None:
        self._service, self._check, self._vouch = service, check, vouch
        self._size, self._metrics = keys_per_request, metrics
        self._witness = witness
        self._vouching: Joiner[DataKey, None] = Joiner()
        # Now, not with the first batch.
        _ = self.keys_per_request
        self._lock = threading.Lock()
        self._believed: frozenset[str | None] = frozenset()

    @property
    def keys_per_request(self) -> int:
        """Keys that fill a request, beside its witness."""
        size = self._size()
        if size < 2:
            raise ConfigError("keys_per_request must be 2 at least: a canary's witness goes with every request")
        return size - 1

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        """Return one fresh data key per request; see `KeyService`. Raises `CanaryError` besides."""
        specs = Specs.of(requests)
        keysets = specs.keysets
        self._believe(keysets)
        order = (
            sorted(range(len(requests)), key=lambda i: keysets.index(requests[i].keyset)) if len(keysets) > 1 else None
        )
        room = self.keys_per_request
        asked, own = self._with_witnesses(specs if order is None else Specs.of([requests[i] for i in order]), room)
        try:
            keys = self._service.generate(asked, audit)
            try:
                self._vouch_for(asked, keys, own, room)
            except BaseException:
                wipe(keys)
                raise
        except KeyServiceUnavailable:
            self._doubt()
            raise
        for stretch in own:
            keys[stretch.stop].wipe()
        if self._metrics is not None:
            self._metrics.inc("worker_keys_total", len(own), event="wasted")
        given = joined(keys[stretch] for stretch in own)
        if order is None:
            return given
        found = dict(zip(order, given, strict=True))
        return [found[i] for i in range(len(requests))]

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> Sequence[DataKey | KeyRefused]:
        """Return each request's data key or refusal; reading needs no canary, a wrong key opens nothing."""
        try:
            return self._service.retrieve(requests, audit)
        except KeyServiceUnavailable:
            self._doubt()
            raise

    def _with_witnesses(self, requests: Specs, room: int) -> tuple[Specs, list[slice]]:
        """
        Return what to ask for, and the stretches of it that were asked of us, each with its witness right behind it.

        Args:
            requests: those of one keyset together.
            room: how many go with one witness.
        """
        asked: list[SpecRuns] = []
        own: list[slice] = []
        at = 0
        for keyset, same in groupby(requests.parts, lambda part: part.common.keyset):
            mine = Specs.of_parts(same)
            for start in range(0, len(mine), room):
                some = mine[start : start + room]
                own.append(slice(at, at + len(some)))
                asked += [*some.parts, *Specs.of([self._witness(keyset)]).parts]
                at += len(some) + 1
        return Specs.of_parts(asked), own

    def _vouch_for(self, asked: Specs, keys: Sequence[DataKey], own: Sequence[slice], room: int) -> None:
        for keyset, same in groupby(own, lambda stretch: asked[stretch.start].keyset):
            stretches = list(same)
            witnesses = [keys[stretch.stop] for stretch in stretches]
            vouched = {witness.request_id for witness in witnesses}
            if any(not request_ids(keys[stretch]) <= vouched for stretch in stretches):
                if room != self.keys_per_request:
                    raise KeyServiceUnavailable("the key service takes another number of keys than a moment ago")
                raise CanaryError("the key service gave keys in an answer without a witness; nothing of it is used")
            self._vouching.ask(keyset, witnesses, partial(self._ask, keyset))

    def _ask(self, keyset: str | None, witnesses: Sequence[DataKey]) -> list[None]:
        # An erasable keyset has two canaries that go with them.
        room = max(1, self.keys_per_request - len(self._witness(keyset).context))
        for start in range(0, len(witnesses), room):
            self._vouch(keyset, witnesses[start : start + room])
        return [None] * len(witnesses)

    def _believe(self, keysets: Sequence[str | None]) -> None:
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
