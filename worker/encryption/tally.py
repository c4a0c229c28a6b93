"""What one batch used of keys, for the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from worker.model import DataKey, Format, KeyUsage
from worker.native.keys import KeyRun, request_ids

if TYPE_CHECKING:
    from worker import _native


class Tally:
    """Adds up the usage of one batch."""

    def __init__(self) -> None:
        self._counts: dict[tuple[UUID, Format], _Count] = {}

    def add_all(self, keys: Sequence[DataKey], kind: Format, values: int) -> None:
        """Count so many values under keys of one field, which has one keyset."""
        if not keys:
            return
        first = keys.first if isinstance(keys, KeyRun) else keys[0]
        count = self._counts.setdefault((first.keyset, kind), _Count())
        count.values += values
        count.descriptors.add(first.descriptor)
        if isinstance(keys, KeyRun):
            # Each of these serves one value, so none is met again.
            count.single += len(keys)
        else:
            count.keys.update([key.iv for key in keys])
        count.request_ids.update(request_ids(keys) - {None})

    def add_granted(self, granted: _native.Granted, values: int, *, is_shared: bool) -> None:
        """
        Count so many values under leases of one field in native memory.

        Args:
            granted: the leases.
            values: how many they serve.
            is_shared: whether other fields of the batch may have the same leases.
        """
        keyset, descriptor = granted.label
        count = self._counts.setdefault((UUID(bytes=keyset), "leased"), _Count())
        if is_shared:
            count.keys.update(granted.ivs)
        else:
            count.single += len(granted)
        count.values += values
        count.descriptors.add(descriptor)
        count.request_ids.update(granted.requests)

    def usage(self) -> list[KeyUsage]:
        """Return what was counted, by keyset and format."""
        return [
            KeyUsage(
                keyset,
                kind,
                frozenset(each for each in count.request_ids if each is not None),
                len(count.keys) + count.single,
                count.values,
                frozenset(count.descriptors),
            )
            for (keyset, kind), count in self._counts.items()
        ]


@dataclass(slots=True)
class _Count:
    # The iv names a key for ever; an object's id may come back once the object is gone.
    keys: set[bytes] = field(default_factory=set)
    single: int = 0
    request_ids: set[UUID | None] = field(default_factory=set)
    descriptors: set[str] = field(default_factory=set)
    values: int = 0
