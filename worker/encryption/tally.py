"""What one batch used of keys, for the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from worker.model import DataKey, Format, KeyUsage


class Tally:
    """Adds up the usage of one batch."""

    def __init__(self) -> None:
        self._counts: dict[tuple[UUID, Format], _Count] = {}

    def add(self, key: DataKey, kind: Literal["record", "leased"], values: int) -> None:
        """Count so many values under a key."""
        self.add_all((key,), kind, values)

    def add_all(self, keys: Iterable[DataKey], kind: Literal["record", "leased"], values: int) -> None:
        """Count so many values under keys of one field."""
        keyset, count = None, _Count()
        for key in keys:
            if key.keyset is not keyset:
                keyset = key.keyset
                count = self._counts.setdefault((keyset, kind), _Count())
                count.descriptors.add(key.descriptor)
                # A field has one keyset, so all the values are its first key's.
                count.values, values = count.values + values, 0
            count.keys.add(key.iv)
            if key.request_id is not None:
                count.request_ids.add(key.request_id)

    def usage(self) -> list[KeyUsage]:
        """Return what was counted, by keyset and format."""
        return [
            KeyUsage(
                keyset,
                kind,
                frozenset(count.request_ids),
                len(count.keys),
                count.values,
                frozenset(count.descriptors),
            )
            for (keyset, kind), count in self._counts.items()
        ]


@dataclass(slots=True)
class _Count:
    # The iv names a key for ever; an object's id may come back once the object is gone.
    keys: set[bytes] = field(default_factory=set)
    request_ids: set[UUID] = field(default_factory=set)
    descriptors: set[str] = field(default_factory=set)
    values: int = 0
