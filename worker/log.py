"""Structured logs on standard error: one JSON object a line, or colours on a terminal."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import PurePath
from typing import Literal, TextIO

import structlog

LogFormat = Literal["json", "console", "auto"]


def configure(
    *,
    region: str = "",
    level: str = "info",
    form: LogFormat = "auto",
    stream: TextIO | None = None,
    process: int | None = None,
) -> None:
    """
    Set up structlog for this process; called once, by the command line.

    Args:
        region: bound to every event, so that logs of several regions can't be confused.
        level: the least level that is written, as `info`.
        form: `json`, `console`, or `auto`: console on a terminal, JSON elsewhere.
        stream: where to write; standard error if not given.
        process: bound to every event where several processes share a stream.
    """
    target = sys.stderr if stream is None else stream
    console = form == "console" or (form == "auto" and target.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_values,
            _bind(region, process),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


def places(exc: BaseException) -> list[str]:
    """
    Return where an exception came from, `file:line function`, outermost first.

    Neither its message nor local variables: both may hold values and secrets. This is what our modules log of an
    unforeseen exception, never the exception itself, whose form the configuration of an embedding program decides.
    """
    frames = traceback.walk_tb(exc.__traceback__)
    return [f"{'/'.join(PurePath(f.f_code.co_filename).parts[-3:])}:{at} {f.f_code.co_name}" for f, at in frames]


def _without_values(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    said = event.pop("exc_info", None)
    exc = said if isinstance(said, BaseException) else sys.exc_info()[1] if said else None
    if exc is not None:
        event["cause"], event["at"] = type(exc).__name__, places(exc)
    return event


def _bind(region: str, process: int | None) -> structlog.typing.Processor:
    def bind(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if region:
            event.setdefault("region", region)
        if process is not None:
            event.setdefault("process", process)
        return event

    return bind
