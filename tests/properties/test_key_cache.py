"""The key cache against a model of it, under random schedules of batches, time, outages, refusals and rotations."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fakes.keyservice import Clock, FakeKeyService
from worker.errors import ContextDenied, KeyAccessDenied, KeyServiceUnavailable
from worker.model import Audit, DataKey, Format, KeyNeed, KeySpec, Value
from worker.zerokms.keys import KeyCache, KeyOptions
from worker.zerokms.keys.hold import Hold

AUDIT = Audit("test")
OPTIONS = KeyOptions(
    max_age_s=100, max_values=50, max_bytes=2_000, max_leases=12, max_pools=12, keys_per_request=7, wait_s=20
)
CONTEXTS = st.lists(st.integers(0, 30), min_size=1, max_size=20, unique=True)


class Authority(FakeKeyService):
    """Remembers when and for what each key was made; refuses some tenants."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.refused: set[str] = set()
        self.made: dict[bytes, tuple[KeySpec, float]] = {}
        self.keys: list[DataKey] = []

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        keys = super().generate(requests, audit)
        if any(isinstance(e, Value) and e.value in self.refused for spec in requests for e in spec.context):
            raise KeyAccessDenied("this context is refused")
        for spec, key in zip(requests, keys, strict=True):
            self.made[key.iv] = spec, self._clock.now
        self.keys += keys
        return keys


class Machine(RuleBasedStateMachine):
    """Batches of both formats, one of which may be under way while others come and go."""

    @initialize()
    def start(self) -> None:
        self.clock = Clock()
        self.service = Authority(self.clock)
        self.cache = KeyCache(self.service, options=OPTIONS, audit=AUDIT, clock=self.clock)
        self.single: set[bytes] = set()
        self.values: dict[bytes, int] = {}
        self.bytes: dict[bytes, list[int]] = {}
        self.dropped_at = float("-inf")
        self.open: tuple[Hold, list[DataKey]] | None = None

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            if self.open is not None:
                self.open[0].__exit__(None, None, None)
            self.cache.close()
            assert all(key.is_wiped for key in self.service.keys if key.iv not in self.single)

    def need(self, kind: Format, tenants: list[int], each: int, size: int) -> KeyNeed:
        contexts = [(str(tenant),) for tenant in tenants]
        counts = np.full(len(tenants), each)
        spec = KeySpec(None, f"d-{kind}")
        return KeyNeed(kind, spec, ("tenant",), contexts, counts, counts * size, lambda _: [size] * each)

    def enter(self, needs: list[KeyNeed]) -> tuple[Hold, list[DataKey]]:
        """Take all keys of a batch and check each."""
        hold, leases = self.cache.hold(needs), []
        hold.__enter__()
        granted = [np.zeros(len(need.contexts), np.int64) for need in needs]
        try:
            for grant in hold:
                need = needs[grant.need]
                numbers = np.repeat(grant.at, grant.counts) if need.format == "record" else grant.at
                for i, key in zip(numbers.tolist(), grant.keys, strict=True):
                    self.check(need, i, key)
                for i, count, key in zip(grant.at.tolist(), grant.counts.tolist(), grant.keys, strict=False):
                    if need.format == "leased":
                        self.values[key.iv] = self.values.get(key.iv, 0) + count
                        self.bytes.setdefault(key.iv, []).extend(need.sizes_of(i)[:count])
                        leases.append(key)
                np.add.at(granted[grant.need], grant.at, grant.counts)
        except BaseException:
            hold.__exit__(None, None, None)
            raise
        for place, (need, had) in enumerate(zip(needs, granted, strict=True)):
            for i, (texts, count) in enumerate(zip(need.contexts, need.counts.tolist(), strict=True)):
                refused = hold.refused.get((place, i))
                # A lease may end within the batch, and the next one be refused.
                is_short = had[i] < count and (had[i] == 0 or need.format == "leased")
                assert (is_short and isinstance(refused, ContextDenied)) or (had[i] == count and refused is None), texts
        return hold, leases

    def check(self, need: KeyNeed, i: int, key: DataKey) -> None:
        spec, born = self.service.made[key.iv]
        assert not key.is_wiped
        assert spec == need.spec_of(i)
        assert self.clock.now - born < OPTIONS.max_age_s
        assert born >= self.dropped_at
        if need.format == "record":
            assert key.iv not in self.single
            self.single.add(key.iv)
            key.wipe()

    def batch(self, needs: list[KeyNeed]) -> None:
        with contextlib.suppress(KeyServiceUnavailable):
            hold, _ = self.enter(needs)
            hold.__exit__(None, None, None)

    @rule(tenants=CONTEXTS, each=st.integers(1, 70), size=st.sampled_from([0, 1, 30, 3_000]))
    def lease(self, tenants: list[int], each: int, size: int) -> None:
        self.batch([self.need("leased", tenants, each, size)])

    @rule(tenants=CONTEXTS, each=st.integers(1, 9))
    def take(self, tenants: list[int], each: int) -> None:
        self.batch([self.need("record", tenants, each, 1)])

    @rule(first=CONTEXTS, second=CONTEXTS)
    def both(self, first: list[int], second: list[int]) -> None:
        kinds: list[Format] = ["leased", "record", "leased"]
        self.batch([self.need(k, t, 2, 3) for k, t in zip(kinds, (first, second, second), strict=True)])

    @precondition(lambda self: self.open is None and self.service.error is None)
    @rule(tenants=CONTEXTS)
    def begin(self, tenants: list[int]) -> None:
        self.open = self.enter([self.need("leased", tenants, 3, 1)])

    @precondition(lambda self: self.open is not None)
    @rule()
    def end(self) -> None:
        assert self.open is not None
        self.open[0].__exit__(None, None, None)
        self.open = None

    @rule(seconds=st.sampled_from([0.1, 1.0, 20.0, 70.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def sweep(self) -> None:
        self.cache.expire()

    @rule(away=st.booleans())
    def outage(self, away: bool) -> None:
        self.service.error = KeyServiceUnavailable("away") if away else None

    @rule(tenants=st.sets(st.integers(0, 30).map(str), max_size=3))
    def refuse(self, tenants: set[str]) -> None:
        self.service.refused = tenants
        self.clock.now += OPTIONS.negative_s

    @rule()
    def rotate(self) -> None:
        self.cache.rotate()
        self.clock.now += 1
        self.dropped_at = self.clock.now - 1

    @invariant()
    def what_a_batch_holds_is_there(self) -> None:
        if getattr(self, "open", None) is not None:
            assert self.open is not None
            assert not any(key.is_wiped for key in self.open[1])

    @invariant()
    def leases_keep_their_bounds(self) -> None:
        for iv, count in getattr(self, "values", {}).items():
            sizes = self.bytes[iv]
            assert count <= OPTIONS.max_values
            assert sum(sizes) <= OPTIONS.max_bytes or len(sizes) == 1

    @precondition(lambda self: getattr(self, "open", None) is None)
    @invariant()
    def the_bounds_hold_between_batches(self) -> None:
        if hasattr(self, "cache"):
            with self.cache._stock.changed:
                under_way = self.cache._stock._under_way
                held = len(self.cache._stock.leases), len(self.cache._stock.pools)
            assert under_way or max(held) <= 12


TestKeyCache = pytest.mark.heavy(Machine.TestCase)
TestKeyCache.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
