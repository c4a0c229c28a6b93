"""The keys of many pools against lists of them: each goes out once, the oldest answer's first, or is wiped."""

from __future__ import annotations

import random
from collections.abc import Sequence
from uuid import uuid4

import numpy as np
import pytest

from tests.fakes.keyservice import FakeKeyService
from worker.encryption.handles import batch_of
from worker.model import Audit, DataKey, KeySpec
from worker.native import IS_LOADED
from worker.native.keys import Answer, KeyRun
from worker.zerokms.keys.held import Held
from worker.zerokms.keys.passes import fill, rows
from worker.zerokms.keys.pool_passes import EMPTY, POOL

SPEC = KeySpec(None, "users/email")
SLOTS = 6


class Drawn:
    """Keys of random answers, and where the test believes that they are: by slot, `(born, ivs)` in their order."""

    def __init__(self, seed: int) -> None:
        self.random, self.service = random.Random(seed), FakeKeyService()
        self.held = Held()
        table = rows(SLOTS, POOL)
        fill(table, np.arange(SLOTS), EMPTY)
        self.held.bind(table)
        self.model: list[list[tuple[float, list[bytes]]]] = [[] for _ in range(SLOTS)]
        self.keys: dict[bytes, DataKey] = {}

    def answer(self, count: int) -> Sequence[DataKey]:
        """Return keys of one answer, in native memory where it is there and chance wants it."""
        keys: Sequence[DataKey] = self.service.generate([SPEC] * count, Audit("test"))
        if IS_LOADED and self.random.random() < 0.7:
            first = keys[0]
            keys = KeyRun([(Answer(batch_of(keys), first.keyset, uuid4(), lambda _: (SPEC.descriptor, ())), 0, count)])
        self.keys |= {key.iv: key for key in keys}
        return keys

    def slots(self) -> list[int]:
        return self.random.sample(range(SLOTS), self.random.randint(1, SLOTS))

    def put(self) -> None:
        slots = self.slots()
        counts = [self.random.randint(1, 3) for _ in slots]
        keys, born = self.answer(sum(counts)), float(self.random.randint(0, 100))
        each = iter([key.iv for key in keys])
        for slot, count in zip(slots, counts, strict=True):
            self.model[slot].append((born, [next(each) for _ in range(count)]))
        self.held.put(np.array(slots), np.array(counts), keys, born)

    def take(self) -> None:
        slots = [slot for slot in self.slots() if self.model[slot]]
        counts = [self.random.randint(1, self.count(slot)) for slot in slots]
        given = [key.iv for key in self.held.take(np.array(slots, np.int64), np.array(counts, np.int64))]
        for slot, count in zip(slots, counts, strict=True):
            mine, given = given[:count], given[count:]
            for iv in mine:
                _, first = self.model[slot][0]
                first.remove(iv)
                if not first:
                    del self.model[slot][0]
        assert given == []

    def lose(self) -> None:
        slot, limit = self.random.randrange(SLOTS), self.random.choice([float("inf"), 50.0])
        lost = [iv for born, ivs in self.model[slot] for iv in ivs if born <= limit]
        self.model[slot] = [(born, ivs) for born, ivs in self.model[slot] if born > limit]
        assert self.held.lose(slot, limit) == len(lost)
        for iv in lost:
            with pytest.raises(RuntimeError):
                bytes(self.keys[iv].secret)

    def count(self, slot: int) -> int:
        return sum(len(ivs) for _, ivs in self.model[slot])

    def check(self) -> None:
        assert self.held.available.tolist() == [self.count(slot) for slot in range(SLOTS)]
        for slot, batches in enumerate(self.model):
            assert [(b.born, [key.iv for key in b.keys]) for b in self.held.batches(slot)] == batches
            oldest = min((born for born, _ in batches), default=float("inf"))
            # On the safe side where what was oldest has just gone.
            assert self.held.born[slot] <= oldest
            assert bool(batches) == (self.held.born[slot] < float("inf"))


@pytest.mark.parametrize("seed", range(20))
def test_keys_are_where_lists_would_have_them(seed: int) -> None:
    """Answers of one batch or of plain keys, taken in part and whole, over slots in any order."""
    drawn = Drawn(seed)
    for _ in range(60):
        drawn.random.choice([drawn.put, drawn.put, drawn.take, drawn.take, drawn.lose])()
        drawn.check()


@pytest.mark.skipif(not IS_LOADED, reason="plain keys are no stretches of an answer")
def test_what_came_together_goes_together() -> None:
    """An answer for many slots that is taken in its order is one stretch again, not one a slot."""
    drawn = Drawn(0)
    slots, counts = np.array([3, 1, 5]), np.array([2, 1, 2])
    keys = drawn.answer(5)
    while not isinstance(keys, KeyRun):
        keys = drawn.answer(5)
    drawn.held.put(slots, counts, keys, 1.0)

    taken = drawn.held.take(slots, counts)

    assert isinstance(taken, KeyRun)
    assert taken.parts == keys.parts
