"""One column of values on its way to envelopes: which keys it needs, and its values sealed as these come."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from worker.encryption.handles import seal_singles
from worker.encryption.leased import Sealer
from worker.encryption.plaintext import to_typed
from worker.encryption.tally import Tally
from worker.errors import ConfigError
from worker.model import Grant, KeyNeed, KeySpec, Texts, ValueColumn


class SealedColumn:
    """
    A column that is sealed as its keys come, context by context.

    Args:
        column: the values.
        default_keyset: for a plan that names none.

    Raises:
        ConfigError: the plan asks for what its format can't do, or the column is not as its plan says.
        RecordError: a value has no place in its format.
    """

    def __init__(self, column: ValueColumn, default_keyset: str | None) -> None:
        plan = column.plan
        if plan.format == "record" and (plan.bind or column.binds is not None):
            raise ConfigError(f"{plan.identity}: bound values need the format `leased`")
        if plan.bind and column.binds is None:
            raise ConfigError(f"{plan.identity}: the plan binds values and the column has none")
        if plan.context and column.contexts is None:
            raise ConfigError(f"{plan.identity}: the plan names a context and the column has none")
        self.column = column
        self.envelopes = [b""] * len(column.values)
        self._contexts, self._places = _grouped(column)
        self._given = [0] * len(self._contexts)
        keyset = default_keyset if plan.keyset is None else plan.keyset
        self._spec = KeySpec(keyset, plan.descriptor)
        self._sealer = Sealer(plan.fingerprint, plan.context, plan.bind)
        if plan.format == "record":
            typed = to_typed(plan)
            # Before any key is taken: nothing may fail once it is.
            self._values = [typed(value) for value in column.values]
        else:
            self._values = column.values

    def need(self) -> KeyNeed:
        """Return what the column needs; it has values."""
        places = self._places
        sizes = np.fromiter(map(len, self._values), np.int64, len(self._values))
        counts = np.fromiter(map(len, places), np.int64, len(places))
        order = np.fromiter(chain.from_iterable(places), np.int64, len(sizes))
        totals = np.add.reduceat(sizes[order], np.cumsum(counts) - counts)
        return KeyNeed(
            self.column.plan.format,
            self._spec,
            self.column.plan.context,
            self._contexts,
            counts,
            totals,
            lambda at: sizes[places[at]].tolist(),
        )

    def seal(self, grant: Grant, tally: Tally) -> None:
        """Seal the values that keys have come for; single-use keys are wiped."""
        if self.column.plan.format == "record":
            self._seal_records(grant, tally)
        else:
            self._seal_leased(grant, tally)

    def check(self) -> None:
        """Raise `RuntimeError` where a value is left: the grants did not add up."""
        if any(given != len(places) for given, places in zip(self._given, self._places, strict=True)):
            raise RuntimeError(f"{self.column.plan.identity}: the keys do not add up to the values")

    def forgo(self, at: int) -> list[int]:
        """Give up a context that gets no keys; returns its records."""
        self._given[at] = len(self._places[at])
        return [self.column.records[i] for i in self._places[at]]

    def _seal_records(self, grant: Grant, tally: Tally) -> None:
        places = [i for each in map(self._next, grant.at.tolist(), grant.counts.tolist()) for i in each]
        tally.add_all(grant.keys, "record", len(places))
        sealed = seal_singles(grant.keys, [self._values[i] for i in places])
        for i, envelope in zip(places, sealed, strict=True):
            self.envelopes[i] = envelope

    def _seal_leased(self, grant: Grant, tally: Tally) -> None:
        at, counts = grant.at.tolist(), grant.counts.tolist()
        places = [i for each in map(self._next, at, counts) for i in each]
        values, binds, contexts = self._values, self.column.binds, self._contexts
        sealed = self._sealer.seal(
            grant.keys,
            [contexts[i] for i in at],
            counts,
            [values[i] for i in places],
            None if binds is None else [binds[i] for i in places],
        )
        tally.add_all(grant.keys, "leased", len(places))
        for i, envelope in zip(places, sealed, strict=True):
            self.envelopes[i] = envelope

    def _next(self, at: int, count: int) -> Sequence[int]:
        """Return the places of a context's next values."""
        places, start = self._places[at], self._given[at]
        self._given[at] = start + count
        return places if count == len(places) else places[start : start + count]


def _grouped(column: ValueColumn) -> tuple[list[Texts], list[Sequence[int]]]:
    """Return the contexts of a column and the places of each one's values."""
    if column.contexts is None:
        return [()], [range(len(column.values))]
    groups: dict[Texts, list[int]] = {}
    for i, texts in enumerate(column.contexts):
        groups.setdefault(texts, []).append(i)
    return list(groups), list(groups.values())
