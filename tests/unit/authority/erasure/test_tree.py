"""The puncturable tree: what is out of it is out, whatever else stays, and its state is as large as promised."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.authority.erasure import tree as module
from worker.authority.erasure.tree import NODE_BYTES, Tree, bits, leaf_in, walk
from worker.errors import ConfigError
from worker.native import IS_LOADED

positions = st.integers(0, 2**64 - 1)
some = st.lists(positions, min_size=1, max_size=8, unique=True)
VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[3] / "vectors" / "tree.json").read_text())
forms = pytest.mark.parametrize(
    "native", [pytest.param(True, marks=pytest.mark.skipif(not IS_LOADED, reason="not built here")), False]
)


def near(position: int) -> list[int]:
    """Positions that leave the same way at each level."""
    return [position ^ 1 << below for below in range(64)]


@forms
@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: str(v["position"]))
def test_leaves_are_the_vectors(vector: dict[str, str], native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf is 64 hashes of a label, a bit and a node, by either form."""
    monkeypatch.setattr(module, "IS_LOADED", native)
    whole = Tree.from_bytes("", bytes(4) + bytes.fromhex(vector["root"]))

    assert whole.leaf(int(vector["position"])) == bytes.fromhex(vector["leaf"])


def test_the_vectors_are_plain_hashes() -> None:
    """The vectors follow from their definition alone."""
    for vector in VECTORS:
        node = bytes.fromhex(vector["root"])
        for bit in bits(int(vector["position"])):
            node = hashlib.sha256(b"zk-tree-v1" + bytes([int(bit)]) + node).digest()
        assert node.hex() == vector["leaf"]


@settings(max_examples=30, deadline=None)
@given(some, positions)
def test_what_is_out_is_out_and_all_else_stays(out: list[int], other: int) -> None:
    """Neighbours at every level keep their leaves; no node that is left is above one that is out."""
    whole = Tree.random()

    left = whole.without(out)

    assert all(left.leaf(position) is None for position in out)
    for kept in {other, *(n for position in out for n in near(position))} - set(out):
        assert left.leaf(kept) == walk(whole.nodes[0], kept, 0)
    above = {bits(position, depth): None for position in out for depth in range(65)}
    assert not any(bits(start, depth) in above for start, depth in zip(left.starts, left.depths, strict=True))


@settings(max_examples=30, deadline=None)
@given(some, some)
def test_order_and_repetition_change_nothing(first: list[int], then: list[int]) -> None:
    """A tree is what its root and the set of erased positions say, however they were taken out."""
    whole = Tree.random()

    assert whole.without(first).without(then).without(first) == whole.without({*then, *first})


@settings(max_examples=30, deadline=None)
@given(st.lists(positions, max_size=8, unique=True), positions)
def test_halves_cover_what_the_whole_covers(out: list[int], other: int) -> None:
    """Each half is a tree of its own, as it would be read again, and takes positions out as the whole does."""
    whole = Tree.random().without(out)

    halves = whole.halves()

    own = halves[other >> 63]
    assert own.leaf(other) == whole.leaf(other)
    assert halves[1 - (other >> 63)].leaf(other) is None
    assert own.without([other]).leaf(other ^ 1) == whole.without([other]).leaf(other ^ 1)
    assert all(Tree.from_bytes(half.prefix, half.to_bytes()) == half for half in halves)


def test_a_tree_cut_short_is_refused() -> None:
    """Nodes that are missing are told, and not taken for others."""
    data = Tree.random().without([1, 2**63]).to_bytes()

    with pytest.raises(ConfigError, match="not its nodes"):
        Tree.from_bytes("", data[:-NODE_BYTES])


def test_the_state_is_as_large_as_promised() -> None:
    """Of 2,000 erasures each costs 64 - log2 n - 1.3 nodes and its position, a tenth more or less."""
    count, source = 2_000, random.Random(7)

    left = Tree.random().without(source.getrandbits(64) for _ in range(count))

    assert len(left.to_bytes()) / count == pytest.approx(NODE_BYTES * (64 - math.log2(count) - 1.3) + 8, rel=0.02)


def test_a_part_is_read_as_a_part() -> None:
    """A prefix other than the one that it was written with has no such nodes."""
    left, right = Tree.random().without([5, 2**64 - 5]).halves()

    assert (left.leaf(5), right.leaf(2**64 - 5)) == (None, None)
    assert left.leaf(os.getpid()) is not None


@settings(max_examples=60, deadline=None)
@given(st.lists(positions, max_size=40, unique=True), positions)
def test_a_leaf_is_found_without_reading_the_tree(out: list[int], other: int) -> None:
    """In what was written it is the one that the root gives, in the whole and in parts; none where it is out."""
    whole = Tree.random()
    parts = [part for half in whole.without(out).halves() for part in half.halves()]

    for part in (whole.without(out), *parts):
        for position in {other, *out, *(position ^ 1 for position in out), *(near(out[0]) if out else ())}:
            is_kept = position not in out and bits(position).startswith(part.prefix)
            expected = walk(whole.nodes[0], position, 0) if is_kept else None
            assert leaf_in(part.prefix, part.to_bytes(), position) == expected
    with pytest.raises(ConfigError, match="not its nodes"):
        leaf_in("", whole.without(out).to_bytes()[:-1], other)
