"""Logs are one JSON object a line, with the region on each."""

from __future__ import annotations

import io
import json
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
