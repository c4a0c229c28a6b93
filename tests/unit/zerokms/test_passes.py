"""Both forms of what is done for a whole batch: passes over its leases, and where its contexts have their slots."""

from __future__ import annotations

import numpy as np
import pytest

from worker.native import IS_LOADED
from worker.zerokms.keys import passes
from worker.zerokms.keys.family import Families, Family, PlainFamily
from worker.zerokms.keys.part import Ints
from worker.zerokms.keys.passes import Due, Rows

built = pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
NOW = 1_000.0


def leases(chance: np.random.Generator) -> Rows:
    """Leases in every state, some of them just at a bound."""
    table = passes.rows(200, passes.LEASE)
    for name in ("values", "bytes"):
        table[name] = chance.integers(0, 5, 200)
    table["key"] = np.arange(200)
    for name in ("born", "seen"):
        table[name] = NOW - chance.choice([-1.0, 0.0, 50.0, 100.0, 101.0], 200)
    table["renew"] = chance.choice([49.0, 50.0, 80.0], 200)
    table["gap"] = chance.choice([1.0, 20.0, passes.RARELY], 200)
    for name in ("held", "used", "followed", "asked", "loose"):
        table[name] = chance.random(200) < 0.3
    return table


def copied(table: Rows) -> Rows:
    """The same in memory of its own."""
    rows = passes.rows(len(table), passes.LEASE)
    rows[:] = table
    return rows


def both(monkeypatch: pytest.MonkeyPatch, table: Rows, slots: Ints, max_age_s: float) -> list[list[object]]:
    """What each form returns, and the table that it leaves."""
    due = Due(NOW, max_age_s, 20.0, 2.0, 2.0)
    said: list[list[object]] = []
    for native in (True, False):
        monkeypatch.setattr(passes, "IS_LOADED", native)
        mine = copied(table)
        fits, _ = passes.take(mine, slots, slots % 4, slots % 3, due)
        ahead = passes.ahead(mine, slots, due)
        whole, *begun = passes.begin(mine, slots, slots % 3, slots % 4, due)
        states = passes.states(mine, slots, NOW, max_age_s)
        passes.end(mine, slots[::2].copy())
        said.append([fits.tolist(), ahead.tolist(), whole.tolist(), begun, states.tolist(), mine.tolist()])
    return said


@built
@pytest.mark.parametrize("max_age_s", [100.0, 0.0])
@pytest.mark.parametrize("seed", range(5))
def test_both_forms_do_the_same_to_leases(seed: int, max_age_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pass returns the same and leaves the same table, whatever state the leases are in."""
    chance = np.random.default_rng(seed)
    slots = chance.permutation(200)[: 1 + 40 * seed]

    native, plain = both(monkeypatch, leases(chance), slots, max_age_s)

    assert native == plain


@pytest.mark.parametrize("make", [pytest.param(Families().make, marks=built), lambda _: PlainFamily()])
def test_a_context_has_one_slot_until_it_goes(make: type[PlainFamily]) -> None:
    """A family finds what it was given, nothing else, and nothing that has gone; twice is refused."""
    family: Family = make(("tenant", "country"))  # type: ignore[call-arg]
    contexts = [(f"t{i}", "de") for i in range(50)]
    family.add(contexts, list(range(100, 150)))
    family.remove(120)

    found = family.find([*contexts, ("t1", "fr"), ("t1d", "e")])

    assert found.tolist() == [*range(100, 120), -1, *range(121, 150), -1, -1]
    assert ([list(texts) for texts in family.texts([110])], len(family)) == ([["t10", "de"]], 49)
    with pytest.raises(ValueError, match="distinct"):
        family.add([("new", "x"), ("t3", "de")], [1, 2])


@built
def test_contexts_that_are_asked_for_read_as_texts() -> None:
    """Of a native family they are a sequence of texts, and a stretch of them is one again."""
    family = Families().make(("tenant",))
    family.add([(f"t{i}\u20ac",) for i in range(5)], list(range(5)))

    texts = family.texts([4, 0, 2])

    assert list(texts) == [["t4\u20ac"], ["t0\u20ac"], ["t2\u20ac"]]
    assert (texts[-1], len(texts[1:]), list(texts[1:][:1])) == (["t2\u20ac"], 2, [["t0\u20ac"]])
    with pytest.raises(IndexError):
        texts[1:][2]
    with pytest.raises(ValueError, match="step"):
        texts[::2]


@built
def test_families_keep_their_contexts_apart() -> None:
    """The same texts have another slot in each family, and leaving one leaves the others."""
    families = Families()
    email, phone = families.make(("tenant",)), families.make(("tenant",))
    email.add([("a",)], [1])
    phone.add([("a",)], [2])
    email.remove(1)

    assert (email.find([("a",)]).tolist(), phone.find([("a",)]).tolist()) == ([-1], [2])
