"""Keys that are not asked for at all: those of envelopes that are not of where they were found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from worker.errors import DecryptionError, WorkerError
from worker.model import DataKey, DecryptionKeys, KeyRefused, RetrieveRequest

Guard = Callable[[Sequence[UUID]], Mapping[UUID, WorkerError]]
"""Tells of some keysets which may not be asked for, and why."""


class Guarded:
    """
    `DecryptionKeys` behind a guard.

    Args:
        keys: where the others' keys come from.
        guard: which keysets may not be asked for.
    """

    def __init__(self, keys: DecryptionKeys, guard: Guard) -> None:
        self._keys, self._guard = keys, guard

    def keys(self, requests: Sequence[RetrieveRequest]) -> Sequence[DataKey | KeyRefused]:
        """Return each request's key or refusal; what the guard refuses goes no further."""
        wrong = self._guard([request.keyset for request in requests if request.keyset is not None])
        if not wrong:
            return self._keys.keys(requests) if requests else []
        allowed = [request for request in requests if request.keyset not in wrong]
        found = iter(self._keys.keys(allowed) if allowed else [])
        return [
            next(found) if request.keyset is None or request.keyset not in wrong else _refused(wrong[request.keyset])
            for request in requests
        ]


def _refused(error: WorkerError) -> KeyRefused:
    return KeyRefused(str(error), is_whole=True, is_moved=isinstance(error, DecryptionError))
