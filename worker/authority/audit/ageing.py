"""How old a trail's closed files are: by time that has passed, whatever the clock says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from worker.authority.audit.segments import last_time
from worker.authority.files import own_file

_log = structlog.get_logger(__name__)
_MARK = "audit-clock"
_SLACK_S = 3600.0
"""What a clock may be put forward at once, and an authority be down, without closed files becoming younger by it."""


def _elapsed() -> float:
    """Return seconds that nobody can put forward; the machine's sleep counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Ageing:
    """
    Takes from the age of closed files what the clock leapt ahead.

    The time that was last seen is kept by a file of its own beside the trail. From there the clock may go on as far as
    the machine's own count of seconds does: what is more becomes the files' time of modification, oldest first, so that
    they stay as old as they were. A clock that is right again leaves them young; nothing goes too early by it.

    Args:
        directory: the trail's.
        clock: seconds since 1970, as files have them.
        elapsed: seconds of which none is skipped.
    """

    def __init__(
        self, directory: Path, *, clock: Callable[[], float] = time.time, elapsed: Callable[[], float] = _elapsed
    ) -> None:
        self._mark, self._clock, self._elapsed = directory / _MARK, clock, elapsed
        seen = self._mark.stat().st_mtime if self._mark.exists() else last_time(directory)
        # A store of before this was kept: what its own newest line says has passed.
        self._seen, self._at = clock() if seen is None else seen, elapsed()

    def look(self, files: Sequence[Path]) -> float:
        """Let files be as old as they are, and return the time; raises `OSError` where that can't be kept."""
        now, at = self._clock(), self._elapsed()
        due = self._seen + at - self._at
        leapt = now - due
        if leapt > _SLACK_S:
            # The oldest first: where this is cut short, nothing that is younger goes either.
            for path in files:
                modified = path.stat().st_mtime
                os.utime(path, (modified + leapt, modified + leapt))
            _log.warning("audit_time_unseen", seconds=round(leapt))
        self._seen, self._at = max(now, due), at
        own_file(self._mark, create=True)
        os.utime(self._mark, (self._seen, self._seen))
        return now
