"""How far one run goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from worker.pipeline.options import Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """
    How far one run goes: for ever, to the present end, between two times, or a number of records.

    `hold` is for one of several processes: at the end it stays until it is told to stop.
    """

    dry_run: bool = False
    limit: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    until_end: bool = False
    hold: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether the run ends by itself."""
        return self.until_end or self.end is not None

    def holding(self) -> RunOptions:
        """Return the same for a process that stays at the end until it is told to stop."""
        return replace(self, hold=True)

    @property
    def bounds(self) -> Bounds | None:
        """The end, where there is one."""
        if not self.is_bounded:
            return None
        until_ms = int(self.end.timestamp() * 1000) if self.end is not None else None
        return Bounds(until_ms=until_ms, hold=self.hold)
