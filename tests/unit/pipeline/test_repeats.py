"""A pause that repeats the same error."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from worker.errors import FatalError, SinkUnavailable
from worker.pipeline.repeats import ANSWER_ENDS_AFTER_S, DOUBT_ENDS_AFTER, LOUD_AFTER, Repeats


def test_an_outage_is_told_loudly_and_waited_out() -> None:
    """It is told after some times and at each doubling, and never ends the route."""
    repeats = Repeats("r")
    with capture_logs() as logs:
        for _ in range(4 * LOUD_AFTER):
            repeats.count(SinkUnavailable("no connection"))

    assert [(entry["event"], entry["times"]) for entry in logs] == [
        ("still_paused", LOUD_AFTER), ("still_paused", 2 * LOUD_AFTER), ("still_paused", 4 * LOUD_AFTER)
    ]  # fmt: skip


def test_the_same_answer_of_a_server_that_is_there_ends_after_an_hour() -> None:
    """A full disk or a deadlock may pass; for one batch, again and again, it does not. A server that is away may be."""
    now = 0.0
    answer, away = SinkUnavailable("SQLSTATE 40P01", is_answer=True), SinkUnavailable("no connection")
    repeats = Repeats("r", clock=lambda: now)
    for error in (away, answer):
        repeats.count(error)
        now += ANSWER_ENDS_AFTER_S - 1
        repeats.count(error)
    now += 1

    with pytest.raises(FatalError, match="40P01: the same error 3 times in a row, over 3600 s"):
        repeats.count(answer)


def test_what_may_be_no_outage_ends() -> None:
    """The same doubtful error in a row is a verdict; another one in between is a new beginning."""
    doubtful = SinkUnavailable("SQLSTATE XX000", is_doubtful=True)
    repeats = Repeats("r")
    for _ in range(DOUBT_ENDS_AFTER - 1):
        repeats.count(doubtful)
    repeats.count(SinkUnavailable("no connection"))
    for _ in range(DOUBT_ENDS_AFTER - 1):
        repeats.count(doubtful)

    with pytest.raises(FatalError, match="XX000"):
        repeats.count(doubtful)
