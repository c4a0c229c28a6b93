"""Logs are one JSON object a line, with the region on each."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from typing import Literal

import pytest
import structlog

from worker import log


def test_each_line_is_json_with_region_and_level() -> None:
    """An event carries its name, level, time and the region."""
    stream = io.StringIO()
    log.configure(region="eu-central-1", form="json", stream=stream)

    structlog.get_logger("test").warning("paused", route="customers")

    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["region"], line["route"]) == (
        "paused",
        "warning",
        "eu-central-1",
        "customers",
    )


def test_events_below_the_level_are_not_written() -> None:
    """DEBUG stays silent unless it is asked for."""
    stream = io.StringIO()
    log.configure(level="info", form="json", stream=stream)

    structlog.get_logger("test").debug("batch")

    assert stream.getvalue() == ""


def test_the_last_error_is_kept() -> None:
    """What was told of an error last is known, also where the line itself is left out."""
    log.configure(level="info", form="json", stream=io.StringIO())

    for number in range(20):
        structlog.get_logger("test").warning("paused", error=f"attempt {number}")
    structlog.get_logger("test").info("assigned", partitions=3)

    assert log.last_error() == "paused: attempt 19"


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_told_without_its_message_and_without_locals(form: Literal["json", "console"]) -> None:
    """Only its class and the places that it came through are written, however it was handed over."""
    stream = io.StringIO()
    log.configure(form=form, stream=stream)

    def fail() -> None:
        local = "".join(["wert", "voll"])
        raise ValueError(f"a message with {local}")

    try:
        fail()
    except ValueError as exc:
        structlog.get_logger("test").error("failed", exc_info=exc)
        structlog.get_logger("test").exception("failed")

    assert "wertvoll" not in stream.getvalue()
    assert stream.getvalue().count("ValueError") == 2
    assert stream.getvalue().count("test_log.py") == 4


def test_repetitions_are_left_out_and_counted() -> None:
    """After a burst one line in a while passes, and says how many it stands for; another route's are its own."""
    now = 0.0
    limit = log.Repetitions(burst=2, every_s=30, clock=lambda: now)

    def said(route: str = "customers") -> object:
        try:
            return limit(None, "warning", {"event": "paused", "route": route, "error": str(now)}).get("left_out", 0)
        except structlog.DropEvent:
            return None

    first = [said() for _ in range(5)]
    other = said("orders")
    now = 31.0
    later = [said(), said()]
    now = 500.0

    assert first == [0, 0, None, None, None]
    assert other == 0
    assert later == [3, None]
    assert said() == 1


def test_what_libraries_log_and_warn_of_are_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's record and a crash of a thread are events, without the text of a foreign exception."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    before = logging.getLogger().handlers[:]
    log.configure(region="eu-central-1", form="json", stream=stream)
    try:
        log.take_over()
        logging.getLogger("library").warning("it %s", "happened")
        thread = threading.Thread(target=lambda: int("alice@example.org"), name="deliver")
        thread.start()
        thread.join()
    finally:
        logging.captureWarnings(False)
        logging.basicConfig(handlers=before, force=True)

    library, crash = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (library["event"], library["logger"], library["text"]) == ("library", "library", "it happened")
    assert (crash["event"], crash["cause"], crash["thread"]) == ("crashed", "ValueError", "deliver")
    assert "alice" not in stream.getvalue()


def test_a_full_disk_under_the_log_stops_nothing() -> None:
    """What has no room is lost; who told it goes on."""
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    log.configure(form="json", stream=full)

    structlog.get_logger("test").warning("paused")

    with pytest.raises(OSError, match="No space left"):
        full.close()
