"""What belongs to one event loop: a program may run several, one after the other or in threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from anyio.lowlevel import current_token

T = TypeVar("T")


class PerLoop(Generic[T]):
    """
    One value for each event loop, made when that first asks; thread-safe.

    Args:
        make: makes one.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._held: WeakKeyDictionary[object, T] = WeakKeyDictionary()
        self._making = threading.Lock()

    def get(self) -> T:
        """Return the value of the loop that runs in this thread."""
        loop = current_token().native_token
        found = self._held.get(loop)
        return self._made(loop) if found is None else found

    def take(self) -> T | None:
        """Return the value of the loop that runs in this thread, which is then its caller's; None where it has none."""
        with self._making:
            return self._held.pop(current_token().native_token, None)

    def _made(self, loop: object) -> T:
        with self._making:
            # Connections hold their loop: it would not go by itself.
            for ended in [each for each in self._held if getattr(each, "is_closed", bool)()]:
                del self._held[ended]
            return self._held.setdefault(loop, self._make())
