"""A pause that ends in the same error again and again: told loudly, and not for ever where it may be no outage."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from worker.errors import FatalError, SinkUnavailable, TransientError

_log = structlog.get_logger(__name__)

LOUD_AFTER = 10
"""Equal errors in a row after which the log says so; again at each doubling."""

DOUBT_ENDS_AFTER = 20
"""Equal errors in a row after which what may be no outage counts as none."""

ANSWER_ENDS_AFTER_S = 3600.0
"""How long a sink that is there may give the same answer to the same batch before it counts as no outage."""


class Repeats:
    """
    Counts equal errors of one batch.

    Args:
        route: names the route in the log.
        clock: seconds.
    """

    def __init__(self, route: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._route, self._clock = route, clock
        self._last, self._count, self._loud_at, self._since = "", 0, LOUD_AFTER, 0.0

    def count(self, error: TransientError) -> None:
        """
        Take an error.

        Raises:
            FatalError: it may be no outage, and has come `DOUBT_ENDS_AFTER` times in a row; or the sink is there and
                has answered so for `ANSWER_ENDS_AFTER_S`.
        """
        text = str(error)
        if text != self._last:
            self._last, self._count, self._loud_at, self._since = text, 0, LOUD_AFTER, self._clock()
        self._count += 1
        seconds = self._clock() - self._since
        if isinstance(error, SinkUnavailable) and (
            (error.is_doubtful and self._count >= DOUBT_ENDS_AFTER)
            or (error.is_answer and seconds >= ANSWER_ENDS_AFTER_S)
        ):
            raise FatalError(
                f"{text}: the same error {self._count} times in a row, over {seconds:.0f} s, is no outage; see the "
                "server's log, and mend what it names"
            ) from error
        if self._count >= self._loud_at:
            self._loud_at *= 2
            _log.error("still_paused", route=self._route, error=text, times=self._count, seconds=round(seconds))
