"""What one request asks for, shelf by shelf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from worker.model import SpecRuns
from worker.zerokms.keys.part import PLACES, Ints
from worker.zerokms.keys.passes import Flags
from worker.zerokms.keys.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Piece:
    """
    Keys that one request asks for slots of one shelf: how many for each, and for which generation of it.

    `places` are those of their contexts in the batch, ascending (`Part.places`); `is_needed`: the batch waits for them;
    `is_new`: none of the contexts has been used before (`parted`).
    """

    shelf: Shelf
    places: Ints
    slots: Ints
    counts: Ints
    generations: Ints
    is_needed: bool
    is_new: bool = False

    def cut(self, start: int, stop: int) -> Piece:
        """Return a stretch of the slots."""
        return self.picked(slice(start, stop))

    def picked(self, at: slice | Flags) -> Piece:
        """Return some of the slots."""
        places, slots, counts = self.places[at], self.slots[at], self.counts[at]
        return replace(self, places=places, slots=slots, counts=counts, generations=self.generations[at])

    def parted(self) -> list[Piece]:
        """Return the slots of contexts that have been used before, and those of new ones."""
        known = self.shelf.are_known(self.slots)
        if known.all() or not known.any():
            return [replace(self, is_new=not known.any())]
        return [self.picked(known), replace(self.picked(~known), is_new=True)]

    def runs(self) -> SpecRuns:
        """Return what each key is for."""
        return self.shelf.runs(self.slots, self.counts)


def ordered(pieces: Iterable[Piece], size: int) -> list[Piece]:
    """Order what is asked for: contexts that have been used before first, then what a batch waits for."""
    ranks: dict[tuple[bool, bool], list[Piece]] = {}
    for piece in pieces:
        for part in piece.parted():
            ranks.setdefault((part.is_new, not part.is_needed), []).append(part)
    return [piece for rank in sorted(ranks) for piece in _woven(ranks[rank], size)]


def _woven(pieces: Sequence[Piece], size: int) -> Sequence[Piece]:
    """
    Cut pieces so that what several fields need for contexts of one place stands in one request.

    The fields of a batch mostly have the same contexts in the same order, each or most of them, and a context costs the
    service once a request.
    """
    if len(pieces) < 2 or sum(int(piece.counts.sum()) for piece in pieces) <= size:
        return pieces
    counts = np.sum([np.bincount(piece.places, piece.counts, PLACES) for piece in pieces], axis=0, dtype=np.int64)
    request_of = (np.cumsum(counts) - 1) // size
    numbers = np.arange(request_of[-1] + 2)
    ends = [np.searchsorted(request_of[piece.places], numbers).tolist() for piece in pieces]
    return [
        piece.cut(own[number], own[number + 1])
        for number in range(len(numbers) - 1)
        for piece, own in zip(pieces, ends, strict=True)
        if own[number] < own[number + 1]
    ]


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Join neighbours of one shelf, whose keys come or fail in one call."""
    return [_joined(list(alike)) for _, alike in groupby(pieces, key=lambda piece: (id(piece.shelf), piece.is_needed))]


def _joined(pieces: Sequence[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    columns = ((piece.places, piece.slots, piece.counts, piece.generations) for piece in pieces)
    places, slots, counts, generations = map(np.concatenate, zip(*columns, strict=True))
    return Piece(pieces[0].shelf, places, slots, counts, generations, pieces[0].is_needed)


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
            if whole == len(ends):
                requests[-1].append(rest)
                room -= int(ends[-1])
                break
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
