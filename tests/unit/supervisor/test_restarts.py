"""When a crashed process is started again."""

from __future__ import annotations

from worker.config import ProcessSettings
from worker.supervisor.restarts import Restarts


def test_pauses_grow_up_to_their_bound_and_end_after_the_last_restart_allowed() -> None:
    """Each crash within the window doubles the pause; one more than allowed ends it."""
    restarts = Restarts(ProcessSettings(restart_s=1, max_restart_s=3, max_restarts=3), lambda: 0.0)

    assert [restarts.crashed() for _ in range(4)] == [1, 2, 3, None]


def test_crashes_before_the_window_are_forgotten() -> None:
    """A process that crashes seldom is started again for ever."""
    now = [0.0]
    restarts = Restarts(ProcessSettings(restart_s=1, max_restarts=1, window_s=10), lambda: now[0])
    pauses = []
    for now[0] in (0.0, 11.0, 22.0):
        pauses.append(restarts.crashed())

    assert pauses == [1, 1, 1]
