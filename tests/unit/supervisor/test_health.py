"""The health of several processes as one."""

from __future__ import annotations

from dataclasses import dataclass

from worker.supervisor.child import Report, RouteReport
from worker.supervisor.health import WholeRoute


@dataclass
class Told:
    index: int
    report: Report | None = None
    heard_at: float = 0.0
    absence: str = ""


def said(*, alive: bool = True, reasons: tuple[str, ...] = ()) -> Report:
    return Report((RouteReport("r", alive, reasons),), ())


def test_the_whole_is_ready_while_each_process_is() -> None:
    """A reason names its process; without any the route is ready."""
    ready, waiting = Told(0, said()), Told(1, said(reasons=("paused, sink away",)))

    assert WholeRoute("r", [ready]).reasons() == []
    assert WholeRoute("r", [ready, waiting]).reasons() == ["process 1: paused, sink away"]


def test_a_process_that_starts_or_pauses_before_its_restart_is_alive_and_not_ready() -> None:
    """A restart under way is no reason to end the whole, but no time to send it work."""
    whole = WholeRoute("r", [Told(0), Told(1, heard_at=-1000.0, absence="crashed; started again in 2 s")])

    assert whole.alive(1.0)
    assert whole.reasons() == ["process 0: starts", "process 1: crashed; started again in 2 s"]


def test_a_process_that_is_stuck_or_silent_makes_the_whole_not_alive() -> None:
    """A loop that does not turn counts, and so does a process that has not been heard of."""
    assert not WholeRoute("r", [Told(0, said()), Told(1, said(alive=False))]).alive(1.0)
    assert not WholeRoute("r", [Told(0, said())]).alive(91.0)
