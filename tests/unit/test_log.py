"""Logs are one JSON object a line, with the region on each."""

from __future__ import annotations

import io
import json

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
