"""Structured logs on standard error: one JSON object a line, or colours on a terminal."""

from __future__ import annotations

import logging
import sys
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
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if not console else structlog.processors.StackInfoRenderer(),
            _bind(region, process),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


def _bind(region: str, process: int | None) -> structlog.typing.Processor:
    def bind(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if region:
            event.setdefault("region", region)
        if process is not None:
            event.setdefault("process", process)
        return event

    return bind
