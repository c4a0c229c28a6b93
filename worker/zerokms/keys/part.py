"""What one need of a batch still lacks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from worker.model import Grant, KeyNeed

Ints = NDArray[np.int64]
PLACES = 2**14
"""How finely places of contexts in a batch are told apart."""


@dataclass(slots=True, eq=False)
class Part:
    """
    One need on its way.

    Args:
        at: the need's place in the batch.
        slots: n slots, one a context.
        failures: how many fetches had failed when the batch began; these are no concern of its own.
        open: places of contexts that lack keys, ascending.
        left: n numbers of values that lack keys.
        bytes: n sizes of these values together.
        pinned: the slots that stay until the batch ends.
        ready: what was granted when the batch began.
    """

    at: int
    need: KeyNeed
    slots: Ints
    failures: int
    open: Ints = field(init=False)
    left: Ints = field(init=False)
    bytes: Ints = field(init=False)
    pinned: Ints = field(init=False)
    ready: list[Grant] = field(init=False, default_factory=list)
    is_near: bool = False
    """Whether one of its leases was near its end when it began."""
    is_fresh: bool = False
    """Whether all of its leases could be used when they were last looked at."""

    def __post_init__(self) -> None:
        self.open = np.arange(len(self.need.counts))
        self.left, self.bytes = self.need.counts.copy(), self.need.totals.copy()
        self.pinned = self.slots[:0]

    def sizes(self, i: int) -> Ints:
        """Return the sizes of a context's values that lack keys."""
        return np.asarray(self.need.sizes_of(i), np.int64)[-self.left[i] :]

    def places(self, slots: Ints) -> Ints:
        """Return where in the batch the contexts of some of the slots stand, in shares of `PLACES`, ascending."""
        chosen = np.zeros(int(self.slots.max()) + 1, np.bool_)
        chosen[slots] = True
        return np.flatnonzero(chosen[self.slots]) * PLACES // len(self.slots)

    def close(self, at: Ints) -> None:
        """Note that these contexts have all of their keys, or get none."""
        if len(at) == len(self.slots):
            self.left[:], self.open = 0, self.open[:0]
            return
        self.left[at] = 0
        self.open = self.open[self.left[self.open] > 0]
