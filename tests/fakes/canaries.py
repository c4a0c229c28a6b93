"""A store of canaries in memory."""

from __future__ import annotations

from uuid import UUID


class CanaryMemory:
    """The first canary of a keyset stays, as in every store."""

    def __init__(self) -> None:
        self.kept: dict[UUID, bytes] = {}

    def load(self, keyset: UUID) -> bytes | None:
        return self.kept.get(keyset)

    def save(self, keyset: UUID, canary: bytes) -> None:
        self.kept.setdefault(keyset, canary)
