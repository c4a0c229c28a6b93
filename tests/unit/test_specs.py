"""Runs of specs are the specs, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import KeySpec, Specs

_SPECS = [KeySpec(None, name) for name in "abc"] + [KeySpec("k", "a")]
_runs = st.lists(st.tuples(st.sampled_from(_SPECS), st.integers(0, 4)), max_size=6)


@given(_runs, st.integers(-9, 30), st.integers(-9, 30))
def test_runs_are_a_sequence(runs: list[tuple[KeySpec, int]], start: int, stop: int) -> None:
    """They count, iterate, and are taken and cut as the list of all would be."""
    each, specs = [spec for spec, count in runs for _ in range(count)], Specs(runs)

    assert list(specs) == each
    assert len(specs) == len(each)
    assert [specs[i] for i in range(-len(each), len(each))] == each + each
    assert list(specs[start:stop]) == each[start:stop]
    assert list(Specs.of(each)) == each
    assert Specs.of(specs) is specs
    assert list(Specs.joined([specs, Specs.of(each)])) == each * 2
    assert specs.keysets == list(dict.fromkeys(spec.keyset for spec in each))


@pytest.mark.parametrize("at", [3, -4, 100])
def test_no_spec_beyond_the_ends(at: int) -> None:
    """As of any sequence."""
    with pytest.raises(IndexError):
        Specs([(_SPECS[0], 1), (_SPECS[1], 2)])[at]
