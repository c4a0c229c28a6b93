"""Which region each keyset belongs to, as the regions' own lists say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from worker.errors import (
    ConfigError,
    DecryptionError,
    KeyAccessDenied,
    KeyServiceUnavailable,
    RegionViolation,
    WorkerError,
)

REFRESH_S = 30.0
"""A region's list is asked for again at most this often, when a keyset is met that nobody owns."""
Lists = Callable[[str], Iterable[UUID]]


@dataclass(slots=True)
class _Told:
    keysets: frozenset[UUID] = frozenset()
    at: float = float("-inf")
    error: WorkerError | None = None


class Owners:
    """
    Finds the region that owns a keyset; thread-safe.

    Each region is asked for nothing but its own list: no keyset that was met is named to any of them. A keyset that no
    list has is refused here, and so is one that two have.

    Args:
        regions: their names.
        keysets: asks one region for the keysets of its workspace.
        clock: monotonic seconds.
    """

    def __init__(self, regions: Iterable[str], keysets: Lists, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keysets, self._clock = keysets, clock
        self._told: dict[str, _Told] = {region: _Told() for region in regions}
        self._asking = threading.Lock()

    @property
    def regions(self) -> list[str]:
        """The regions that there are credentials for."""
        return list(self._told)

    def of(self, keysets: Iterable[UUID]) -> Mapping[UUID, str | WorkerError]:
        """Return each keyset's region, or why it has none here; asks the regions' lists where one is unknown."""
        wanted = set(keysets)
        if any(not self._claims(keyset) for keyset in wanted):
            self._ask()
        return {keyset: self._owner(keyset) for keyset in wanted}

    def expect(self, region: str) -> None:
        """Raise `KeyAccessDenied` for a region without credentials."""
        if region not in self._told:
            raise KeyAccessDenied(
                f"there are no credentials of {region} here, only of {', '.join(self._told)}; give that region's client"
            )

    def _claims(self, keyset: UUID) -> list[str]:
        return [region for region, told in self._told.items() if keyset in told.keysets]

    def _owner(self, keyset: UUID) -> str | WorkerError:
        claims = self._claims(keyset)
        if len(claims) == 1:
            return claims[0]
        if claims:
            return RegionViolation(
                f"keyset {keyset} is claimed by {' and '.join(claims)}: one of these authorities is not what it says, "
                "and neither is asked"
            )
        silent = [region for region, told in self._told.items() if isinstance(told.error, KeyServiceUnavailable)]
        if silent:
            return KeyServiceUnavailable(
                f"keyset {keyset} is of no region that answers; {', '.join(silent)} can't be asked for its keysets now"
            )
        barred = [f"{region} ({told.error})" for region, told in self._told.items() if told.error is not None]
        hint = f"; there is no list of keysets of {', '.join(barred)}" if barred else ""
        return KeyAccessDenied(
            f"keyset {keyset} is of none of the regions {', '.join(self._told)}: give that region's credentials{hint}"
        )

    def _ask(self) -> None:
        with self._asking:
            for region, told in self._told.items():
                if self._clock() - told.at < REFRESH_S and not isinstance(told.error, KeyServiceUnavailable):
                    continue
                try:
                    found, error = frozenset(self._keysets(region)), None
                except ConfigError:
                    raise
                except WorkerError as exc:
                    # Whatever one region answers, the others' envelopes open.
                    found, error = told.keysets, exc
                self._told[region] = _Told(found, self._clock(), error)


def of_source(owner: str, region: str) -> WorkerError | None:
    """Return what is wrong with an envelope whose keyset's region is not the one of where it was found."""
    if owner == region:
        return None
    return DecryptionError(f"the envelope's keyset is of {owner}, and where it was found is of {region}: it was moved")
