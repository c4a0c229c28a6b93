"""The keys of a whole batch: full requests, its own never evicted, used as they come, each refusal for itself."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest

from tests.fakes.keyservice import Clock, FakeKeyService
from worker.errors import ContextDenied, KeyAccessDenied, KeyServiceUnavailable
from worker.metrics import Metrics
from worker.model import Audit, DataKey, Format, Grant, KeyNeed, KeySpec, Value
from worker.turn import Turn, noticed
from worker.zerokms.keys import KeyCache, KeyOptions, hold
from worker.zerokms.keys.narrow import Answer

AUDIT = Audit("test")


def need(
    kind: Format, tenants: Sequence[str], *, each: int = 1, descriptor: str = "users/email", keyset: str | None = None
) -> KeyNeed:
    """What a column of `each` values of one byte a tenant needs."""
    counts = np.full(len(tenants), each)
    contexts = [(tenant,) for tenant in tenants]
    return KeyNeed(kind, KeySpec(keyset, descriptor), ("tenant",), contexts, counts, counts, lambda _: [1] * each)


def tenants(start: int, stop: int) -> list[str]:
    return [f"t{i}" for i in range(start, stop)]


def make(service: FakeKeyService, clock: Clock | None = None, **bounds: float) -> KeyCache:
    options = KeyOptions.model_validate({"wait_s": 20} | bounds)
    return KeyCache(service, options=options, audit=AUDIT, clock=clock or Clock())


def batch(cache: KeyCache, *needs: KeyNeed) -> list[Grant]:
    """All that a batch is given; single-use keys stay unwiped."""
    with cache.hold(needs) as hold:
        return list(hold)


class Noting(FakeKeyService):
    """Keeps the texts of each request's contexts."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[list[str]] = []

    def generate(self, specs: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        self.requests.append([element.value for s in specs for element in s.context if isinstance(element, Value)])
        return super().generate(specs, audit)


def asked(service: FakeKeyService) -> list[int]:
    return [count for _, count in service.calls]


@pytest.mark.parametrize("kind", ["leased", "record"])
def test_asks_for_a_whole_batch_in_full_requests(kind: Format) -> None:
    """Fields, contexts and schemas share requests; each keyset has its own, and only its last is not full."""
    service = FakeKeyService()
    fields = [need(kind, tenants(0, 700), descriptor=f"d{i}") for i in range(3)]
    other = [need(kind, tenants(0, 100), descriptor="d", keyset="other")]
    with make(service) as cache:
        batch(cache, *fields, *other)

    assert sorted(asked(service)) == [100, 100, 500, 500, 500, 500]


@pytest.mark.parametrize("kind", ["leased", "record"])
def test_gives_each_context_its_own_keys(kind: Format) -> None:
    """Every value has a key of its own context: single-use keys differ, a lease is one for all of a context."""
    with make(FakeKeyService()) as cache:
        grants = batch(cache, need(kind, tenants(0, 600), each=3))

    keys = 1 if kind == "leased" else 3
    assert sorted(i for grant in grants for i in grant.at.tolist()) == list(range(600))
    assert sum(int(grant.counts.sum()) for grant in grants) == 1_800
    assert len({key.iv for grant in grants for key in grant.keys}) == 600 * keys


def test_never_evicts_what_the_batch_needs() -> None:
    """A batch of more contexts than the bound keeps those it holds while the others come: one request, not many."""
    service = FakeKeyService()
    with make(service, max_leases=100) as cache:
        batch(cache, need("leased", tenants(0, 100)))
        service.calls.clear()

        batch(cache, need("leased", tenants(50, 350)))

        assert sum(asked(service)) == 250
        assert len(service.calls) == 1
        assert len(cache._leases) == 100


def test_asks_for_known_contexts_first() -> None:
    """Where a batch lacks keys of contexts that were used before and of new ones, the former fill the first request."""
    service, clock = Noting(), Clock()
    with make(service, clock, max_age_s=100) as cache:
        for _ in range(2):
            batch(cache, need("leased", ["z"]))
        service.requests.clear()
        clock.now += 100
        batch(cache, need("leased", [*tenants(0, 600), "z"]))

    assert sorted(map(len, service.requests)) == [101, 500]
    assert next(len(request) for request in service.requests if "z" in request) == 500


@pytest.mark.parametrize("kind", ["leased", "record"])
def test_asks_for_a_context_in_one_request(kind: Format) -> None:
    """What several fields need for one context goes out together, also where a field has fewer contexts."""
    service = Noting()
    fields = [need(kind, tenants(0, 1_000), descriptor=f"d{i}") for i in range(3)]
    fewer = need(kind, tenants(0, 1_000)[1::2])
    with make(service) as cache:
        batch(cache, *fields, fewer)

    assert len(service.requests) == 7
    assert sum(len(set(request)) for request in service.requests) < 1_000 + 3 * 7


def test_a_scan_leaves_the_frequent_in() -> None:
    """Contexts that are used again and again survive ten times the bound of contexts that never return."""
    service = FakeKeyService()
    with make(service, max_leases=1_000) as cache:
        for _ in range(4):
            batch(cache, need("leased", tenants(0, 500)))
        for start in range(1_000, 11_000, 500):
            batch(cache, need("leased", tenants(start, start + 500)))
        service.calls.clear()

        batch(cache, need("leased", tenants(0, 500)))

    assert sum(asked(service)) < 50


def test_uses_what_has_come_while_the_rest_is_under_way() -> None:
    """The first answer's keys are given before the second answer comes."""
    service, gate = FakeKeyService(), threading.Event()
    second = iter((False, True))
    lock = threading.Lock()

    def hold_second() -> None:
        with lock:
            waits = next(second, False)
        if waits:
            assert gate.wait(20)

    service.before = hold_second
    with make(service) as cache, cache.hold([need("leased", tenants(0, 600))]) as hold:
        grants = iter(hold)
        first = next(grants)
        gate.set()
        rest = list(grants)

    assert len(first.keys) in (100, 500)
    assert len(first.keys) + sum(len(grant.keys) for grant in rest) == 600


@pytest.mark.parametrize("kind", ["leased", "record"])
def test_stays_within_the_budget(kind: Format) -> None:
    """However many contexts come, what is held after a batch is within the budget."""
    with make(FakeKeyService(), budget_bytes=2**20) as cache:
        for start in range(0, 20_000, 1_000):
            batch(cache, need(kind, tenants(start, start + 1_000)))
            assert cache._stock.bytes <= 2**20

        assert cache._stock.bytes > 2**20 * 0.9


def test_a_replaced_lease_lasts_as_long_as_its_batch() -> None:
    """What a batch was given is wiped when that batch is over, and not before."""
    clock = Clock()
    with make(FakeKeyService(), clock) as cache:
        with cache.hold([need("leased", ["a"])]) as hold:
            [grant] = hold
            clock.now += 300
            batch(cache, need("leased", ["a"]))
            meanwhile = grant.keys[0].is_wiped

        assert not meanwhile
        assert grant.keys[0].is_wiped


class Choosy(FakeKeyService):
    """Refuses some tenants, and with them whatever request they are in."""

    def __init__(self, refused: Collection[str]) -> None:
        super().__init__()
        self.refused = set(refused)

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        keys = super().generate(requests, audit)
        for spec in requests:
            for element in spec.context:
                if isinstance(element, Value) and element.value in self.refused:
                    raise KeyAccessDenied("this context is refused")
        return keys


@pytest.mark.parametrize("kind", ["leased", "record"])
@pytest.mark.parametrize("refused", [["t7"], ["t0", "t399"], ["t100", "t101", "t102"]])
def test_refuses_one_context_and_not_the_others(kind: Format, refused: list[str]) -> None:
    """The refused contexts are found by halves; all others have their keys."""
    service = Choosy(refused)
    with make(service) as cache, cache.hold([need(kind, tenants(0, 400))]) as hold:
        given = {f"t{i}" for grant in hold for i in grant.at.tolist()}
        denied = {f"t{i}" for _, i in hold.refused}

    assert denied == set(refused)
    assert given == set(tenants(0, 400)) - denied
    assert all(isinstance(error, ContextDenied) for error in hold.refused.values())
    assert len(service.calls) < 2 + 2 * len(refused) * 10


def test_asks_for_a_refused_context_not_at_every_batch() -> None:
    """A refusal is remembered for `negative_s`, then asked anew."""
    service, clock = Choosy(["t1"]), Clock()
    with make(service, clock, negative_s=5) as cache:
        batch(cache, need("leased", ["t0", "t1"]))
        service.calls.clear()
        batch(cache, need("leased", ["t0", "t1"]))
        within = len(service.calls)
        clock.now += 5
        service.refused.clear()
        after = batch(cache, need("leased", ["t1"]))

    assert within == 0
    assert len(after) == 1


def test_a_refused_identity_stops() -> None:
    """Where no key is given at all, it is not the contexts' fault."""
    service = FakeKeyService()
    service.deleted = True
    with make(service) as cache, pytest.raises(KeyAccessDenied) as caught:
        batch(cache, need("leased", tenants(0, 300)))

    assert not isinstance(caught.value, ContextDenied)
    assert len(service.calls) == 2


def test_an_outage_fails_the_batch_and_keeps_what_is_held() -> None:
    """A batch that lacks one key fails in an outage; one that lacks none goes on."""
    service = FakeKeyService()
    with make(service) as cache:
        batch(cache, need("leased", ["a"]))
        service.error = KeyServiceUnavailable("away")
        with pytest.raises(KeyServiceUnavailable):
            batch(cache, need("leased", ["a", "b"]))

        assert len(batch(cache, need("leased", ["a"]))) == 1


def test_what_has_come_is_given_before_a_failure() -> None:
    """A batch of which one request fails has been given, and so can wipe, every single-use key that had come."""

    class Failing(FakeKeyService):
        def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
            keys = super().generate(requests, audit)
            if len(requests) < 500:
                raise KeyServiceUnavailable("away")
            return keys

    with make(Failing()) as cache, cache.hold([need("record", tenants(0, 600))]) as hold:
        with cache._stock.changed:
            cache._stock.changed.wait_for(lambda: cache._stock.settled == 2, 20)
        grants = iter(hold)
        given = next(grants)
        with pytest.raises(KeyServiceUnavailable, match="away"):
            next(grants)

    assert len(given.keys) == 500


def test_fetches_ahead_by_each_contexts_own_rate() -> None:
    """A context that comes once in a while costs its own keys; of those of a steady one few are wasted."""
    service, clock = FakeKeyService(), Clock()
    used = 0
    with make(service, clock) as cache:
        for i in range(300):
            rare = need("record", tenants(i * 20 % 1_000, i * 20 % 1_000 + 20))
            frequent = need("record", ["f"], each=50)
            used += sum(len(grant.keys) for grant in batch(cache, rare, frequent))
            clock.now += 0.2

    assert used == 300 * 70
    assert sum(asked(service)) - used < 0.1 * used


def test_a_steady_stream_does_not_wait() -> None:
    """After a few batches a pool is ahead of its stream: what is taken has been there before."""
    service, clock = FakeKeyService(), Clock()
    with make(service, clock) as cache:
        late = 0
        for i in range(60):
            with cache._stock.changed:
                cache._stock.changed.wait_for(lambda: not cache._stock.pools.pending.any(), 20)
            grants = cache._stock.pools.available.max() >= 100
            batch(cache, need("record", ["a"], each=100))
            late += not grants and i >= 5
            clock.now += 0.2

    assert late == 0


class Second(FakeKeyService):
    """Answers its second request only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = threading.Event()

    def generate(self, specs: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        if self.calls:
            assert self.may_answer.wait(20)
        return super().generate(specs, audit)


def test_what_came_for_one_batch_is_not_given_to_the_next() -> None:
    """A batch that began later waits for its own keys: the first one would have to ask again, behind all of them."""
    service = Second()
    with make(service) as cache, cache.hold([need("record", ["a"], each=5)]) as first:
        stock = cache._stock
        with stock.changed:
            assert stock.changed.wait_for(lambda: stock.pools.available.max() == 5, 20)
        with cache.hold([need("record", ["a"], each=3)]) as second:
            with stock.changed:
                early = stock.serve(second._parts)
            given = [len(grant.keys) for grant in first]
            service.may_answer.set()
            later = [len(grant.keys) for grant in second]

    assert (early, given, later) == ([], [5], [3])


def test_the_end_of_a_batch_takes_nothing_from_one_that_waits() -> None:
    """Where each batch asks for keys of its own, those under way for another one are used when they come."""
    service = Second()
    with make(service, max_age_s=0) as cache, ExitStack() as ending:
        first = ending.enter_context(cache.hold([need("record", ["a"], each=5)]))
        given = [len(grant.keys) for grant in first]
        with cache.hold([need("record", ["a"], each=3)]) as second:
            ending.close()
            service.may_answer.set()
            later = [len(grant.keys) for grant in second]
        held = cache._stock.pools.count

    assert (given, later, held) == ([5], [3], 0)
    assert asked(service) == [5, 3]


def test_batches_that_begin_in_pairs_fetch_no_more_ahead() -> None:
    """Where two threads have batches under way, a second's demand is what both take in a second."""
    service, clock, wanted = FakeKeyService(), Clock(), need("record", tenants(0, 20), each=50)
    with make(service, clock) as cache:
        pools = cache._stock.pools
        for _ in range(20):
            with cache.hold([wanted]) as first:
                clock.now += 0.001
                with cache.hold([wanted]) as second:
                    used = sum(len(grant.keys) for hold in (first, second) for grant in hold)
            clock.now += 0.399
        with cache._stock.changed:
            most = int((pools.available + pools.pending).max())

    assert used == 2 * 20 * 50
    assert most <= 1.2 * (2 * 50 / 0.4)


def test_an_answer_that_comes_at_once_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a request has ended before anybody waits for it, nobody notifies the batch: it looks again by itself."""
    with make(FakeKeyService(), max_values=10) as cache:
        original = cache._stock.gatherer.ask

        def ask(specs: Sequence[KeySpec], *, is_new: bool = False) -> Future[Sequence[Answer]]:
            answer = original(specs, is_new=is_new)
            wait([answer], 20)
            return answer

        monkeypatch.setattr(cache._stock.gatherer, "ask", ask)
        began = cache._stock.settled
        grants = batch(cache, need("leased", ["a"], each=35))

    assert sum(int(grant.counts.sum()) for grant in grants) == 35
    assert cache._stock.settled - began == 4


class OthersTurn:
    """A lock that somebody else has for a hundred seconds before it is to be had again."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()

    def acquire(self) -> bool:
        self._clock.now += 100
        return self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_wait_for_keys_is_no_wait_for_ones_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """`worker_key_wait_seconds` has neither the time of another batch's turn in it nor that of sealing."""
    clock, turn, metrics, gate = Clock(), Turn(), Metrics("eu-central-1"), threading.Event()
    monkeypatch.setattr(hold, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(turn, "_lock", OthersTurn(clock))
    service = FakeKeyService()
    service.before = lambda: assert_set(gate)
    options = KeyOptions.model_validate({"wait_s": 20})
    with ExitStack() as opened:
        cache = opened.enter_context(KeyCache(service, options=options, audit=AUDIT, metrics=metrics, clock=Clock()))
        opened.enter_context(turn.taken())
        opened.enter_context(noticed(gate.set))
        for _ in opened.enter_context(cache.hold([need("record", tenants(0, 600))])):
            clock.now += 50

    told = {"region": "eu-central-1", "cache": "pool"}
    assert metrics.registry.get_sample_value("worker_key_wait_seconds_count", told) == 1
    assert metrics.registry.get_sample_value("worker_key_wait_seconds_sum", told) == 0


def assert_set(gate: threading.Event) -> None:
    assert gate.wait(20)
