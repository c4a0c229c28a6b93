"""How many records go at once where a batch would become too large."""

from __future__ import annotations

from worker.model import Batch, pieces

_AGAIN = 1.25
"""By so much the number is tried larger with each batch: one that does not fit is taken apart for nothing."""


class Fit:
    """Remembers how many records were few enough, so that the batches that follow are cut before they are read."""

    def __init__(self) -> None:
        self._records = float("inf")

    def cut(self, batch: Batch) -> list[Batch]:
        """Return a batch in pieces that should fit."""
        records, self._records = self._records, self._records * _AGAIN
        if len(batch) <= records:
            return [batch]
        return pieces(batch, -(-len(batch) // int(records)))

    def shrink(self, batch: Batch, count: int) -> list[Batch]:
        """Return one that did not fit in so many pieces."""
        smaller = pieces(batch, count)
        self._records = max(1, len(smaller[0]))
        return smaller
