"""Runs of specs are the specs, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import KeySpec, SpecRuns, Specs, spec_of

_SPECS = [KeySpec(None, name) for name in "abc"] + [KeySpec("k", "a")]
_CONTEXTS = st.lists(st.tuples(st.sampled_from([("x", "1"), ("y", "2"), ("z", "")]), st.integers(1, 4)), min_size=1)
_parts = st.lists(
    st.builds(
        lambda spec, counted: SpecRuns(spec, ("t", "n"), [texts for texts, _ in counted], [n for _, n in counted]),
        st.sampled_from(_SPECS),
        _CONTEXTS,
    ),
    max_size=4,
)
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


@given(_parts, st.integers(-9, 30), st.integers(-9, 30))
def test_runs_of_contexts_are_a_sequence(parts: list[SpecRuns], start: int, stop: int) -> None:
    """Contexts that are told by their texts alone are the specs that have them."""
    each = [
        spec_of(part.common, part.names, texts)
        for part in parts
        for texts, count in zip(part.contexts, part.counts, strict=True)
        for _ in range(count)
    ]
    specs = Specs.of_parts(parts)

    assert list(specs) == each
    assert [specs[i] for i in range(-len(each), len(each))] == each + each
    assert list(specs[start:stop]) == each[start:stop]
    assert len(specs[start:stop]) == len(each[start:stop])
    assert list(Specs.joined([specs[start:], specs[:start]])) == each[start:] + each[:start]
    assert specs.keysets == list(dict.fromkeys(spec.keyset for spec in each))


@pytest.mark.parametrize("at", [3, -4, 100])
def test_no_spec_beyond_the_ends(at: int) -> None:
    """As of any sequence."""
    with pytest.raises(IndexError):
        Specs([(_SPECS[0], 1), (_SPECS[1], 2)])[at]
