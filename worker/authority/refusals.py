"""Refusals in the audit: each has a line, until there are so many that lines would be a way to fill a disk."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worker.authority.refusal import Refusal

PER_WINDOW = 60
"""Refusals of one subject, operation and status that have a line each."""
WINDOW_S = 60.0

Entry = dict[str, Any]
_KEPT = ("operation", "workspace", "subject", "actor", "address", "outcome", "status", "reason")


@dataclass(slots=True)
class _Window:
    ends: float
    alone: int = 0
    together: int = 0
    last: Entry | None = None


class Refusals:
    """
    Decides which refusals have a line of their own; the others of a window are counted, and one line says how many.

    Args:
        record: writes a line; a 503 is the trail's to tell.
        clock: monotonic seconds.
    """

    def __init__(self, record: Callable[[Entry], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._record, self._clock = record, clock
        self._windows: dict[tuple[Any, ...], _Window] = {}
        self._lock = threading.Lock()

    def has_line(self, entry: Entry) -> bool:
        """Whether a refusal has a line of its own; if not, it has been counted. Called on the event loop."""
        key = tuple(entry.get(name) for name in ("workspace", "subject", "operation", "status"))
        with self._lock:
            window = self._windows.get(key)
            if window is None or window.ends <= self._clock():
                self._tell(self._windows.pop(key, None))
                window = self._windows[key] = _Window(self._clock() + WINDOW_S)
                # Told when the window ends, whether or not there is another refusal then.
                asyncio.get_running_loop().call_later(WINDOW_S, self.flush)
            if window.alone < PER_WINDOW:
                window.alone += 1
                return True
            window.together, window.last = window.together + 1, {name: entry.get(name) for name in _KEPT}
            return False

    def flush(self, *, everything: bool = False) -> None:
        """Write the lines of windows that have ended, or of all."""
        with self._lock:
            now = self._clock()
            for key, window in list(self._windows.items()):
                if everything or window.ends <= now:
                    del self._windows[key]
                    self._tell(window)

    def _tell(self, window: _Window | None) -> None:
        if window is not None and window.last is not None:
            with contextlib.suppress(Refusal):
                self._record({**window.last, "aggregated": window.together})
