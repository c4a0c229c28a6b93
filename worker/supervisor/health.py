"""The health of several processes as one worker's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from worker.supervisor.child import Report, RouteReport

# As long as a loop may stand still itself before it counts as dead.
_STALL_S = 90.0


class Told(Protocol):
    """One process, as far as its health goes."""

    @property
    def index(self) -> int:
        """Its number."""
        ...

    @property
    def report(self) -> Report | None:
        """What it said last; None since it was started."""
        ...

    @property
    def heard_at(self) -> float:
        """When it said it, or was started: seconds, monotonic."""
        ...

    @property
    def absence(self) -> str:
        """Why there is no such process now; empty if there is."""
        ...


class WholeRoute:
    """
    One route over all processes: alive while each of them is, ready when each of them is.

    Args:
        route: the route's name.
        processes: all of them.
    """

    def __init__(self, route: str, processes: Iterable[Told]) -> None:
        self._route = route
        self._processes = list(processes)

    @property
    def route(self) -> str:
        """The route's name."""
        return self._route

    def alive(self, now: float) -> bool:
        """Whether every process has been heard of lately and says that its loop turns; one to be restarted counts."""
        return all(
            process.absence or (now - process.heard_at <= _STALL_S and self._turns(process))
            for process in self._processes
        )

    def reasons(self) -> list[str]:
        """Why the route is not ready, process by process."""
        found = []
        for process in self._processes:
            said = self._of(process)
            why = [process.absence] if process.absence else ["starts"] if said is None else said.reasons
            found += [f"process {process.index}: {reason}" for reason in why]
        return found

    def _turns(self, process: Told) -> bool:
        said = self._of(process)
        return said is None or said.alive

    def _of(self, process: Told) -> RouteReport | None:
        report = process.report
        return None if report is None else next((r for r in report.routes if r.route == self._route), None)
