"""Both forms of the passes over a batch's pools."""

from __future__ import annotations

import numpy as np
import pytest

from worker.native import IS_LOADED
from worker.zerokms.keys import pool_passes as passes
from worker.zerokms.keys.part import Ints
from worker.zerokms.keys.passes import Rows, rows

POOLS = 200
NOW = 1_000.0


def pools(chance: np.random.Generator) -> Rows:
    """Pools in every state, some of them just at a bound."""
    table = rows(POOLS, passes.POOL)
    for name in ("pins", "uses", "seen", "generation", "queue"):
        table[name] = chance.integers(0, 4, POOLS)
    for name in ("available", "wanted", "pending", "depth"):
        table[name] = chance.choice([0, 1, 5, 64, 100, 1_000, 2_500], POOLS)
    table["last"] = NOW - chance.choice([0.0, 0.05, 1.0, 7.3], POOLS)
    # A pool that was seen twice has a rate.
    table["gap"] = np.where(table["seen"] < 2, np.inf, chance.choice([0.05, 0.1, 1.0], POOLS))
    table["count"] = chance.choice([1.0, 2.5, 300.0], POOLS)
    table["not_before"] = NOW + chance.choice([-1.0, 0.0, 1.0], POOLS)
    table["used"] = chance.choice([0, 20, 1_000, 100_000], POOLS)
    table["wasted"] = chance.choice([0, 1, 50, 51], POOLS)
    table["born"] = chance.choice([NOW - 10, NOW - 5, NOW, np.inf], POOLS)
    table["weight"] = chance.integers(0, 2_000, POOLS)
    return table


def said(table: Rows, slots: Ints, counts: Ints) -> list[object]:
    """What each pass returns, and what the table says after it."""
    generations = slots % 4
    found: list[object] = []
    for passed in (
        lambda: passes.begin(table, slots, counts, NOW, 1_000),
        lambda: passes.look(table, slots, counts, NOW - 5),
        lambda: passes.lacking(table, slots),
        lambda: passes.ahead(table, slots, counts, NOW, 500, 1.0),
        lambda: passes.ask(table, slots, counts),
        lambda: passes.came(table, slots, counts, generations),
        lambda: passes.put(table, slots, counts, NOW - 7),
        lambda: passes.weigh(table, slots, 700, 500),
        lambda: passes.look(table, slots[:0], counts[:0], NOW),
        lambda: passes.take(table, slots, counts),
        lambda: passes.weigh(table, slots, 700, 500),
        lambda: passes.end(table, slots[::2].copy()),
    ):
        told = passed()
        parts = told if isinstance(told, tuple) else (told,)
        found += [part.tolist() if isinstance(part, np.ndarray) else part for part in parts]
        found.append(table.tolist())
    return found


@pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
@pytest.mark.parametrize("seed", range(5))
def test_both_forms_do_the_same_to_pools(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pass returns the same and leaves the same table, whatever state the pools are in."""
    chance = np.random.default_rng(seed)
    table, slots = pools(chance), chance.permutation(POOLS)[: 1 + 40 * seed]
    counts = chance.integers(1, 300, len(slots))
    each: list[list[object]] = []

    for native in (True, False):
        mine = rows(POOLS, passes.POOL)
        mine[:] = table
        monkeypatch.setattr(passes, "IS_LOADED", native)
        each.append(said(mine, slots, counts))

    assert each[0] == each[1]


@pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
def test_a_slot_that_is_not_there_is_refused() -> None:
    """Whatever asks for it: nothing beyond the table is read or written."""
    table, far = rows(4, passes.POOL), np.array([0, 4])

    with pytest.raises(IndexError, match="slot"):
        passes.begin(table, far, np.array([1, 1]), NOW, 9)
    with pytest.raises(IndexError, match="slot"):
        passes.take(table, far[:1], np.array([1, 1]))
