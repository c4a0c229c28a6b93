"""
A puncturable function: 2^64 leaves from one node of 32 bytes, of which any can be taken out for good.

A node's children are `SHA-256("zk-tree-v1" | bit | node)`. A position's bits, from the root down, lead to its leaf.
To take a position out is to replace the node that covers it by the siblings of its way down: every other leaf is still
to be had, this one is not. With n positions out of it a tree has about n x (64 - log2 n - 1.3) nodes.

Source: Goldreich, Goldwasser, Micali, "How to construct random functions", 1986; Boneh and Waters, 2013.
"""

from __future__ import annotations

import hashlib
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

from worker.errors import ConfigError
from worker.native import IS_LOADED, extension

DEPTH = 64
NODE_BYTES = 32
_LABEL = b"zk-tree-v1"
_ZERO, _ONE = _LABEL + b"\x00", _LABEL + b"\x01"
_COUNT = struct.Struct(">I")


def walk(node: bytes, position: int, depth: int) -> bytes:
    """Return the leaf at a position, from the node above it at `depth`."""
    for below in reversed(range(DEPTH - depth)):
        node = hashlib.sha256((_ONE if position >> below & 1 else _ZERO) + node).digest()
    return node


@dataclass(frozen=True, slots=True)
class Tree:
    """
    What is left of a tree below a prefix; what it covers is told by which positions are out of it.

    Args:
        prefix: bits as text, the way from the root to the part of the tree that this is; "" is all of it.
        erased: the positions that are out of it, ascending.
        nodes: n of 32 bytes, in the order of the positions that they cover.
        starts: the first position that each node covers.
        depths: how far each node lies below the root.
    """

    prefix: str
    erased: tuple[int, ...]
    nodes: Sequence[bytes] = field(repr=False)
    starts: Sequence[int] = field(repr=False)
    depths: Sequence[int] = field(repr=False)

    @classmethod
    def random(cls) -> Self:
        """Return a whole new tree."""
        return cls("", (), [os.urandom(NODE_BYTES)], [0], [0])

    @classmethod
    def from_bytes(cls, prefix: str, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises `ConfigError` where it is no tree's."""
        (count,) = _COUNT.unpack_from(data)
        start = _COUNT.size + 8 * count
        erased = struct.unpack_from(f">{count}Q", data, _COUNT.size)
        covered = list(_cover(_first(prefix), len(prefix), erased))
        if len(data) != start + NODE_BYTES * len(covered):
            raise ConfigError(f"the part {prefix!r} of a tree has {len(data)} bytes, which are not its nodes")
        nodes = [data[i : i + NODE_BYTES] for i in range(start, len(data), NODE_BYTES)]
        return cls(prefix, erased, nodes, [s for s, _ in covered], [d for _, d in covered])

    def to_bytes(self) -> bytes:
        """Write how many positions are out of it, these, and the nodes; which node covers what follows from that."""
        out = struct.pack(f">I{len(self.erased)}Q", len(self.erased), *self.erased)
        return b"".join((out, *self.nodes))

    def leaf(self, position: int) -> bytes | None:
        """Return a leaf of 32 bytes; None where it has been taken out, or lies elsewhere."""
        return _leaf(self.prefix, self.erased, lambda at: self.nodes[at], position)

    def without(self, positions: Iterable[int]) -> Tree:
        """Return the tree that is left without some positions; those that are out of it already change nothing."""
        nodes, starts, depths = list(self.nodes), list(self.starts), list(self.depths)
        erased = set(self.erased)
        for position in sorted(set(positions) - erased):
            at = _covering(starts, depths, position)
            if at is None:
                continue
            siblings = sorted(_siblings(nodes[at], position, depths[at]))
            starts[at : at + 1] = [start for start, _, _ in siblings]
            depths[at : at + 1] = [depth for _, depth, _ in siblings]
            nodes[at : at + 1] = [node for _, _, node in siblings]
            erased.add(position)
        return Tree(self.prefix, tuple(sorted(erased)), nodes, starts, depths)

    def halves(self) -> tuple[Tree, Tree]:
        """Return its two halves, which cover what it covered."""
        depth, middle = len(self.prefix), _first(self.prefix + "1")
        if not self.erased:
            pair = [hashlib.sha256(label + self.nodes[0]).digest() for label in (_ZERO, _ONE)]
            left, right = ([node] for node in pair)
            zero, one = self.prefix + "0", self.prefix + "1"
            first = _first(self.prefix)
            return Tree(zero, (), left, [first], [depth + 1]), Tree(one, (), right, [middle], [depth + 1])
        at, out = bisect_left(self.starts, middle), bisect_left(self.erased, middle)
        parts = ((slice(at), slice(out), "0"), (slice(at, None), slice(out, None), "1"))
        left_half, right_half = (
            Tree(self.prefix + bit, self.erased[gone], self.nodes[own], self.starts[own], self.depths[own])
            for own, gone, bit in parts
        )
        return left_half, right_half


def leaf_in(prefix: str, data: bytes, position: int) -> bytes | None:
    """Return a leaf of what `Tree.to_bytes` wrote, for a fiftieth of what reading all of it takes; see `Tree.leaf`."""
    (count,) = _COUNT.unpack_from(data)
    start = _COUNT.size + 8 * count
    erased = struct.unpack_from(f">{count}Q", data, _COUNT.size)
    if len(data) != start + NODE_BYTES * _size(len(prefix), erased):
        raise ConfigError(f"the part {prefix!r} of a tree has {len(data)} bytes, which are not its nodes")

    def node(at: int) -> bytes:
        return data[start + NODE_BYTES * at : start + NODE_BYTES * (at + 1)]

    return _leaf(prefix, erased, node, position)


def _leaf(prefix: str, erased: Sequence[int], node: Callable[[int], bytes], position: int) -> bytes | None:
    found = _place(prefix, erased, position)
    if found is None:
        return None
    at, depth = found
    return extension.leaf(node(at), position, depth) if IS_LOADED else walk(node(at), position, depth)


def _place(prefix: str, erased: Sequence[int], position: int) -> tuple[int, int] | None:
    """Return which node covers a position, and how far below the root; None where none does."""
    depth, at, start, low, high = len(prefix), 0, _first(prefix), 0, len(erased)
    if not start <= position < start + (1 << DEPTH - depth):
        return None
    while low < high:
        if depth == DEPTH:
            return None
        depth += 1
        middle = start + (1 << DEPTH - depth)
        parting = bisect_left(erased, middle, low, high)
        if position < middle:
            high = parting
        else:
            at += _size(depth, erased[low:parting])
            low, start = parting, middle
    return at, depth


def _size(depth: int, erased: Sequence[int]) -> int:
    """Return how many nodes cover all but some positions below a node at `depth`."""
    if not erased:
        return 1
    # Of the nodes on the ways to them each has two children, and what is on no way itself covers.
    ways = DEPTH - depth + sum((one ^ other).bit_length() - 1 for one, other in pairwise(erased))
    return ways + 1 - len(erased)


def bits(position: int, count: int = DEPTH) -> str:
    """Return a position's first bits as text."""
    return format(position, f"0{DEPTH}b")[:count]


def _first(prefix: str) -> int:
    return int(prefix.ljust(DEPTH, "0"), 2)


def _covering(starts: Sequence[int], depths: Sequence[int], position: int) -> int | None:
    at = bisect_right(starts, position) - 1
    return at if at >= 0 and position - starts[at] < 1 << DEPTH - depths[at] else None


def _siblings(node: bytes, position: int, depth: int) -> list[tuple[int, int, bytes]]:
    """Return first position, depth and node of each sibling on the way from a node down to a position."""
    found = []
    for level in range(depth + 1, DEPTH + 1):
        below = DEPTH - level
        pair = [hashlib.sha256(label + node).digest() for label in (_ZERO, _ONE)]
        bit = position >> below & 1
        found.append(((position >> below ^ 1) << below, level, pair[1 - bit]))
        node = pair[bit]
    return found


def _cover(start: int, depth: int, erased: Sequence[int]) -> list[tuple[int, int]]:
    """Return first position and depth of the nodes that cover all but some positions."""
    if not erased:
        return [(start, depth)]
    if depth == DEPTH:
        return []
    middle = start + (1 << DEPTH - depth - 1)
    at = bisect_left(erased, middle)
    return _cover(start, depth + 1, erased[:at]) + _cover(middle, depth + 1, erased[at:])
