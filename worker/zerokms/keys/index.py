"""Index keys, held no longer than any other key without asking again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from worker.errors import KeyAccessDenied, KeyMaterialError
from worker.interpreter import on_fork
from worker.zerokms.exchange import LoadedKeyset

Load = Callable[[str | None], LoadedKeyset]


class IndexKeys:
    """
    Keysets with their index keys; thread-safe.

    An index key never changes, so nothing needs it anew; it is asked for again after `max_age_s` all the same, since
    that is how a revoked client learns that it may not use it any more.

    Args:
        load: asks the key service, without a cache of its own.
        max_age_s: how long an answer is used.
        clock: seconds, monotonic.
    """

    def __init__(self, load: Load, *, max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._load, self._max_age_s, self._clock = load, max_age_s, clock
        self._held: dict[str | None, tuple[float, LoadedKeyset]] = {}
        self.after_fork()
        on_fork(self)

    def after_fork(self) -> None:
        """Begin with a lock that nobody holds."""
        self._lock = threading.Lock()

    def get(self, ref: str | None) -> LoadedKeyset:
        """
        Return a keyset by name or uuid text, None for the client's own default.

        Raises:
            KeyServiceUnavailable: no answer now.
            KeyAccessDenied: no grant any more, or the keyset is disabled.
            KeyMaterialError: the index key is another one than before: keys would get other pseudonyms.
        """
        with self._lock:
            now = self._clock()
            at, held = self._held.get(ref, (0.0, None))
            if held is not None and now - at <= self._max_age_s:
                return held
            found = self._load(ref)
            if found.is_disabled:
                raise KeyAccessDenied(f"keyset {found.name} is disabled: its index key may not be used")
            if held is not None and (found.id, found.index_key) != (held.id, held.index_key):
                raise KeyMaterialError(f"keyset {found.name} has another index key than before")
            self._held[ref] = now, found
            return found

    def forget(self) -> None:
        """Ask again at the next use; what was held still has to match."""
        with self._lock:
            self._held = {ref: (float("-inf"), keyset) for ref, (_, keyset) in self._held.items()}
