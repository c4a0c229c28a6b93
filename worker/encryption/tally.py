"""What one batch used of keys, for the ledger."""

from __future__ import annotations

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
        count = self._counts.get((key.keyset, kind))
        if count is None:
            count = self._counts[key.keyset, kind] = _Count()
        count.keys.add(key.iv)
        count.values += values
        count.descriptors.add(key.descriptor)
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
