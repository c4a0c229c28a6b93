"""A wall clock that leaps is told from one that runs."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from worker.kafka.clock import ClockWatch


class Clocks:
    """Two clocks that are set by hand; reading one may take time."""

    def __init__(self) -> None:
        self.steady_s, self.ahead_s, self.reading_s = 1_000.0, 1.7e9, 0.0
        self.wakes = 0
        self.watch = ClockWatch(wall=self.wall, steady=lambda: self.steady_s, leapt_back=self.woken)

    def wall(self) -> float:
        self.steady_s += self.reading_s
        return self.steady_s + self.ahead_s

    def woken(self) -> None:
        self.wakes += 1

    def look_after(self, leap_s: float) -> list[float]:
        """Look a tick later, the wall clock having leapt meanwhile; returns what the log says."""
        self.steady_s += 0.1
        self.ahead_s += leap_s
        with capture_logs() as logs:
            self.watch.look()
        return [event["seconds"] for event in logs if event["event"] == "clock_leapt"]


@pytest.mark.parametrize(
    ("leap_s", "told", "wakes"),
    [(-21_600, [-21_600.0], 1), (-1.5, [-1.5], 1), (-0.5, [], 0), (0.0, [], 0), (0.5, [], 0), (7_200, [7_200.0], 0)],
)
def test_a_leap_is_told_and_one_back_wakes_the_clients(leap_s: float, told: list[float], wakes: int) -> None:
    """Once for each: what follows is compared with the clock as it is now."""
    clocks = Clocks()
    assert clocks.look_after(0.0) == []

    assert clocks.look_after(leap_s) == told
    assert clocks.look_after(0.0) == []

    assert clocks.wakes == wakes


def test_a_thread_that_was_held_up_between_the_clocks_takes_that_for_no_leap() -> None:
    """Clocks that were read far apart tell nothing of each other, then or later."""
    clocks = Clocks()
    clocks.look_after(0.0)
    clocks.reading_s = 5.0
    assert clocks.look_after(0.0) == []
    clocks.reading_s = 0.0

    assert clocks.look_after(0.0) == []
    assert clocks.look_after(-60.0) == [-60.0]
    assert clocks.wakes == 1
