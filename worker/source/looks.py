"""When a member's group is looked at next."""

from __future__ import annotations

from collections.abc import Callable

AGAIN_S, _LONGEST_S = 2.0, 10.0
DOUBLINGS = 6
"""How often an attempt in vain doubles a member's patience, at most."""


class Looks:
    """
    What judges of a group share.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pause_s, self._attempts = AGAIN_S, 0
        self.look_at: float | None = None
        """When to ask for the group next; None: not before something moves."""

    def unanswered(self) -> None:
        """Ask again, ever less often."""
        self.look_at = self._clock() + self._pause_s
        self._pause_s = min(_LONGEST_S, 2 * self._pause_s)
