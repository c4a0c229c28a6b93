"""Keys of several regions for one call: each is asked of the region that owns its keyset, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from worker.encryption.anyform import AnyEnvelope
from worker.errors import DecryptionError, KeyAccessDenied, WorkerError
from worker.model import DataKey, KeyRefused, RetrieveRequest
from worker.sdk import values as forms
from worker.sdk.keyring import KeyCall
from worker.sdk.owners import Owners, of_source

Answer = DataKey | KeyRefused
Reader = Callable[[bytes, str, "bytes | None", Sequence[str]], dict[str, object]]
Found = tuple[list[int], list[Any]]


class RoutedKeys:
    """
    `DecryptionKeys` of several regions.

    Args:
        owners: tells the region of a keyset.
        calls: opens a region's keys for this call.
        region: where the envelopes were found is of this region; None where that is not known.
    """

    def __init__(self, owners: Owners, calls: Callable[[str], KeyCall], region: str | None) -> None:
        self._owners, self._calls, self._region = owners, calls, region
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def keys(self, requests: Sequence[RetrieveRequest]) -> list[Answer]:
        """Return each request's key or refusal, with one batch a region."""
        owners = self._owners.of(request.keyset for request in requests if request.keyset is not None)
        groups: dict[str, list[int]] = {}
        out: dict[int, Answer] = {}
        for i, request in enumerate(requests):
            place = placed(request.keyset, owners, self._region)
            if isinstance(place, WorkerError):
                out[i] = KeyRefused(str(place), is_whole=True, is_moved=isinstance(place, DecryptionError))
            else:
                groups.setdefault(place, []).append(i)
        for region, at in groups.items():
            call = self._stack.enter_context(self._calls(region))
            out |= zip(at, call.keys([requests[i] for i in at]), strict=True)
        return [out[i] for i in range(len(requests))]


def placed(keyset: UUID | None, owners: Mapping[UUID, str | WorkerError], region: str | None) -> str | WorkerError:
    """Return the region to ask for a key, or why none is asked."""
    if keyset is None:
        return region or KeyAccessDenied("the envelope names no keyset: say which region it is of")
    owner = owners[keyset]
    if isinstance(owner, str) and region is not None:
        return of_source(owner, region) or owner
    return owner


def keyset_of(envelope: AnyEnvelope) -> UUID | WorkerError | None:
    """Return the keyset that an envelope names, or why it is none."""
    found = forms.attempt(forms.expect, envelope, None)
    return found if isinstance(found, WorkerError) else found.keyset
