"""Where the SDK's calls get their keys: kept ones first, the rest from the key service, small calls joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from worker.encryption.given import GivenKeys
from worker.errors import ConfigError, KeyServiceUnavailable, SubjectErased, WorkerError
from worker.model import (
    DataKey,
    Grant,
    KeyHold,
    KeyNeed,
    KeyRefused,
    KeyService,
    KeySpec,
    LeasePortion,
    RetrieveRequest,
    Specs,
)
from worker.native.requests import NativeRequests
from worker.sdk.ahead import PORTION, ahead, spans
from worker.sdk.checked import CLOSED
from worker.sdk.kept import KeptKeys
from worker.sdk.scope import Identity, Scope, identity_of
from worker.zerokms.joining import JOINED, WINDOW_S, Joiner
from worker.zerokms.keys.narrow import names

Answer = DataKey | KeyRefused
T = TypeVar("T")
_LEASE_VALUES = 1_000_000


class Keyring:
    """
    Hands the keys of one key service to calls; thread-safe.

    Args:
        service: where keys come from.
        kept: keys of earlier calls; None keeps none.
        window_s: how long a single call may wait for others while a request is under way; 0 joins none.
        asks_ahead: whether threads of our own may ask the service.

    `joins` says whether calls share requests.
    """

    def __init__(
        self, service: KeyService, *, kept: KeptKeys | None, window_s: float = WINDOW_S, asks_ahead: bool = True
    ) -> None:
        self._service, self.kept, self.asks_ahead = service, kept, asks_ahead
        self.is_closed = False
        self._identity = identity_of(service)
        self.joins = window_s > 0
        self.calls: Joiner[Any, Any] = Joiner(window_s=window_s)
        """Joins calls whole, where all that they do may be done together."""
        self._fresh: Joiner[KeySpec, DataKey] = Joiner(window_s=window_s)
        self._again: Joiner[RetrieveRequest, Answer] = Joiner(window_s=window_s)

    @property
    def identity(self) -> Identity:
        """Whom the key service takes us for."""
        return self._identity()

    def call(self, scope: Scope, *, is_joined: bool = False, once: bool = False) -> KeyCall:
        """Return the keys of one call; `is_joined` says that it is several, and waits for no others."""
        return KeyCall(self, scope.of(self.identity.subject), joins=self.joins and not is_joined, once=once)

    def close(self) -> None:
        """Wipe what is kept; the service is closed by whoever made it."""
        self.is_closed = True
        if self.kept is not None:
            self.kept.close()

    def fresh(self, scope: Scope, specs: Sequence[KeySpec], *, joins: bool) -> Sequence[DataKey]:
        """Return a fresh key for each spec."""
        first = specs[0]
        if len(specs) > JOINED or not joins or not _are_alike(specs):
            return self._service.generate(specs, scope.audit)
        place = (scope, first.keyset, first.policy)
        try:
            return self._fresh.ask(place, specs, lambda joined: self._service.generate(joined, scope.audit))
        except SubjectErased as exc:
            if any(names(spec, exc) for spec in specs):
                raise
            # It was another call of the same request that was meant.
            return self._service.generate(specs, scope.audit)

    def again(self, scope: Scope, requests: Sequence[RetrieveRequest], *, joins: bool) -> Sequence[Answer]:
        """Return each request's key or its refusal, past what is kept."""
        if len(requests) > JOINED or not joins:
            return self._service.retrieve(requests, scope.audit)
        return self._again.ask(scope, requests, lambda joined: self._service.retrieve(joined, scope.audit))


def _are_alike(specs: Sequence[KeySpec]) -> bool:
    """Whether keys may be asked for in one request with those of other calls: of one keyset, under one policy."""
    first = specs[0]
    each = (spec for spec, _ in specs.runs) if isinstance(specs, Specs) else specs
    return all((spec.keyset, spec.policy) == (first.keyset, first.policy) for spec in each)


def told_closed(is_closed: bool, exc: BaseException | None) -> None:
    """Raise `ConfigError` for what only failed since its client was closed meanwhile: asking again would not help."""
    if is_closed and isinstance(exc, KeyServiceUnavailable | RuntimeError):
        raise ConfigError(CLOSED) from None


class Ownership:
    """
    Whose each key of a call is: the cache's where it is kept, else the call's, which wipes it at its end.

    Args:
        kept: keys of earlier calls.
        identity: whom the key service takes us for now.
        scope: of the call.
    """

    def __init__(self, kept: KeptKeys | None, identity: Identity, scope: Scope) -> None:
        self._kept, self._identity, self._scope = kept, identity, scope
        self._given = GivenKeys()

    def wipe(self) -> None:
        """Wipe what is the call's own."""
        self._given.wipe()

    def now(self) -> float:
        """When a request begins, by the clock by which keys age."""
        return 0.0 if self._kept is None else self._kept.now()

    def found(self, requests: Sequence[RetrieveRequest]) -> tuple[dict[RetrieveRequest, Answer], list[RetrieveRequest]]:
        """Return what is kept, and the distinct requests for the rest."""
        distinct = dict.fromkeys(requests)
        found: dict[RetrieveRequest, Answer] = {}
        if self._kept is not None:
            found.update(self._kept.find(self._scope, distinct))
        return found, [request for request in distinct if request not in found]

    def answered(
        self, requests: Sequence[RetrieveRequest], answers: Sequence[Answer], born: float
    ) -> dict[RetrieveRequest, Answer]:
        """Note what came for requests that were not kept."""
        got, settled = dict(zip(requests, answers, strict=True)), self._settled()
        taken = set[DataKey]() if self._kept is None or settled is None else self._kept.keep(settled, got, born)
        self._given.keep([key for key in answers if isinstance(key, DataKey) and key not in taken])
        return got

    def answered_native(self, answers: Sequence[Answer]) -> Sequence[Answer]:
        """Note what came and is not kept."""
        self._given.keep_answers(answers)
        return answers

    def taken(self, keys: Sequence[DataKey]) -> Sequence[DataKey]:
        """Note single-use keys."""
        self._given.keep(keys)
        return keys

    def kept_lease(self, spec: KeySpec, count: int) -> tuple[list[LeasePortion], list[int]]:
        """Return what a kept lease serves of `count` values, and the counts of the new ones that the rest needs."""
        held = None if self._kept is None else self._kept.lease(self._scope, spec, count)
        count -= 0 if held is None else held.count
        most = _LEASE_VALUES if self._kept is None else self._kept.options.max_values
        return [] if held is None else [held], [min(most, count - start) for start in range(0, count, most)]

    def leased(
        self, specs: Sequence[KeySpec], keys: Sequence[DataKey], counts: Sequence[int], born: float
    ) -> list[LeasePortion]:
        """Note new leases, each for so many values."""
        settled = self._settled()
        for spec, key, count in zip(specs, keys, counts, strict=True):
            if self._kept is None or settled is None or not self._kept.keep_lease(settled, spec, key, count, born):
                self._given.keep([key])
        return [LeasePortion(key, count) for key, count in zip(keys, counts, strict=True)]

    def _settled(self) -> Scope | None:
        """The scope once the request is over; None where the token's subject changed meanwhile."""
        subject = self._identity.subject
        return self._scope.of(subject) if self._scope.subject in ("", subject) else None


class KeyCall(Ownership):
    """
    The keys of one call; `EncryptionKeys` and `DecryptionKeys`.

    Args:
        keyring: where they come from.
        scope: whose they are, and what for.
        joins: whether requests for few keys are shared with other calls.
        once: what is opened is not read again, so that keys of single values need not be kept.
    """

    def __init__(self, keyring: Keyring, scope: Scope, *, joins: bool, once: bool = False) -> None:
        super().__init__(keyring.kept, keyring.identity, scope)
        self._keyring, self._joins, self._once = keyring, joins, once

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.wipe()
        told_closed(self._keyring.is_closed, exc)

    def keys(self, requests: Sequence[RetrieveRequest]) -> Sequence[Answer]:
        """Return each request's key or refusal, asking once for equal requests; see `DecryptionKeys.keys`."""
        is_whole = len(requests) > JOINED or not self._joins
        is_past = isinstance(requests, NativeRequests) and is_whole and self._goes_past(requests)
        if is_past or (self._kept is None and len(requests) == 1):
            return self._again(requests)
        found, missing = self.found(requests)
        if missing:
            born = self.now()
            found |= self.answered(missing, self._keyring.again(self._scope, missing, joins=self._joins), born)
        return [found[request] for request in requests]

    def take(self, spec: KeySpec, count: int) -> Sequence[DataKey]:
        """Return `count` fresh keys; see `EncryptionKeys.take`."""
        return self.take_each([spec] if count == 1 else Specs([(spec, count)]))

    def take_each(self, specs: Sequence[KeySpec]) -> Sequence[DataKey]:
        """Return one fresh key for each spec."""
        return self.taken(self._keyring.fresh(self._scope, specs, joins=self._joins)) if specs else []

    def take_ahead(self, spec: KeySpec, count: int, use: Callable[[Sequence[DataKey]], T]) -> list[T]:
        """Return what `use` makes of `count` fresh keys, portion by portion in their order."""
        if count <= 2 * PORTION or not self._keyring.asks_ahead:
            return [use(self.take(spec, count))]
        return ahead([partial(self.take, spec, stop - start) for start, stop in spans(count)], use)

    def keys_ahead(self, requests: NativeRequests, use: Callable[[Sequence[Answer]], T]) -> list[T]:
        """Return what `use` makes of the requests' keys or refusals, portion by portion in their order."""
        if len(requests) <= 2 * PORTION or not self._keyring.asks_ahead or not self._goes_past(requests):
            return [use(self.keys(requests))]
        return ahead([partial(self._again, requests.part(start, stop)) for start, stop in spans(len(requests))], use)

    def _goes_past(self, requests: NativeRequests) -> bool:
        """Whether requests are not looked up among what is kept: of more than that holds, none would be found again."""
        is_many = self._kept is None or len(requests) > self._kept.options.max_keys
        return is_many or (self._once and any(requests.fingerprint(i) is None for i in range(len(requests))))

    def _again(self, requests: Sequence[RetrieveRequest]) -> Sequence[Answer]:
        return self.answered_native(self._keyring.again(self._scope, requests, joins=self._joins))

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """Return leases for as many values, a kept one first; see `EncryptionKeys.lease`."""
        kept, counts = self.kept_lease(spec, len(sizes))
        return kept + self.new_leases([spec] * len(counts), counts)

    def new_leases(self, specs: Sequence[KeySpec], counts: Sequence[int]) -> list[LeasePortion]:
        """Return a new lease of each spec, for that many values."""
        if not specs:
            return []
        born = self.now()
        return self.leased(specs, self._keyring.fresh(self._scope, specs, joins=self._joins), counts, born)

    def hold(self, needs: Iterable[KeyNeed]) -> AbstractContextManager[KeyHold]:
        """Ask for what a whole batch needs; see `EncryptionKeys.hold`."""
        return nullcontext(_Hold(self, tuple(needs)))


class _Hold:
    """A `KeyHold` that is filled by what is kept and one request, as soon as it is iterated."""

    def __init__(self, call: KeyCall, needs: Sequence[KeyNeed]) -> None:
        self._call, self._needs = call, needs
        self.refused: dict[tuple[int, int], WorkerError] = {}

    def __iter__(self) -> Iterator[Grant]:
        missing: list[tuple[int, int, KeySpec, int]] = []
        singles: list[tuple[int, int, KeySpec, int]] = []
        for n, need in enumerate(self._needs):
            for at, count in enumerate(need.counts.tolist()):
                spec = need.spec_of(at)
                if need.format == "record":
                    singles.append((n, at, spec, count))
                    continue
                kept, counts = self._call.kept_lease(spec, count)
                missing += [(n, at, spec, count) for count in counts]
                for portion in kept:
                    yield _grant(n, at, portion.count, [portion.key])
        leases = self._call.new_leases([spec for _, _, spec, _ in missing], [count for *_, count in missing])
        for (n, at, _, count), portion in zip(missing, leases, strict=True):
            yield _grant(n, at, count, [portion.key])
        keys, start = self._call.take_each([spec for _, _, spec, count in singles for _ in range(count)]), 0
        for n, at, _, count in singles:
            yield _grant(n, at, count, keys[start : start + count])
            start += count


def _grant(need: int, at: int, count: int, keys: Sequence[DataKey]) -> Grant:
    return Grant(need, np.array([at], np.int64), np.array([count], np.int64), keys)
