"""What one request asks for, shelf by shelf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from worker.model import SpecRuns
from worker.zerokms.keys.part import Ints
from worker.zerokms.keys.passes import Flags
from worker.zerokms.keys.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Piece:
    """
    Keys that one request asks for slots of one shelf: how many for each, and for which generation of it.

    `is_needed`: a batch waits for them.
    """

    shelf: Shelf
    slots: Ints
    counts: Ints
    generations: Ints
    is_needed: bool

    def cut(self, start: int, stop: int) -> Piece:
        """Return a stretch of the slots."""
        return self.picked(slice(start, stop))

    def picked(self, at: slice | Flags) -> Piece:
        """Return some of the slots."""
        return replace(self, slots=self.slots[at], counts=self.counts[at], generations=self.generations[at])

    def parted(self) -> list[Piece]:
        """Return the slots of contexts that have been used before, and then those of new ones."""
        known = self.shelf.are_known(self.slots)
        if known.all() or not known.any():
            return [self]
        return [self.picked(known), self.picked(~known)]

    def is_new(self) -> bool:
        """Whether none of the contexts has been used before."""
        return not self.shelf.are_known(self.slots).any()

    def runs(self) -> SpecRuns:
        """Return what each key is for."""
        return self.shelf.runs(self.slots, self.counts)


def requests(pieces: Sequence[Piece], size: int) -> list[list[Piece]]:
    """Part pieces into full requests; only the last is not full."""
    requests: list[list[Piece]] = []
    room = 0
    for piece in pieces:
        rest = piece
        while len(rest.slots):
            if not room:
                requests.append([])
                room = size
            ends = np.cumsum(rest.counts)
            whole = int(np.searchsorted(ends, room, side="right"))
            if whole:
                requests[-1].append(rest.cut(0, whole))
                room -= int(ends[whole - 1])
                rest = rest.cut(whole, len(rest.slots))
            else:
                first, rest = _split(rest, room)
                requests[-1].append(first)
                room = 0
    return requests


def _split(piece: Piece, count: int) -> tuple[Piece, Piece]:
    """Cut so many of the first slot's keys off; each part comes or fails by itself, and until then the slot stays."""
    counts = piece.counts.copy()
    counts[0] -= count
    piece.shelf.pins[piece.slots[0]] += 1
    first = replace(piece.cut(0, 1), counts=np.array([count]))
    return first, replace(piece, counts=counts)
