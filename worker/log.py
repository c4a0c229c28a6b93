"""Structured logs on standard error: one JSON object a line, or colours on a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import PurePath
from types import TracebackType
from typing import Literal, TextIO, cast

import stamina
import structlog

LogFormat = Literal["json", "console", "auto"]

# What distinguishes two lines of one event; whatever else differs is a repetition of the first.
_KIND = ("event", "route", "client", "kind", "reason", "topic", "partition", "process", "code", "logger")
_ALWAYS = frozenset({"critical"})
_BURST, _EVERY_S = 5, 30.0
# What a client without its broker writes a hundred times a second.
_BURSTS = {"librdkafka": 1, "source_degraded": 1, "source_away": 1}
_LIBRARY_TEXT = 500


def configure(
    *,
    region: str = "",
    level: str = "info",
    form: LogFormat = "auto",
    stream: TextIO | None = None,
    process: int | None = None,
) -> None:
    """
    Set up this process's logs, those of libraries, warnings and crashes included; called by the command line.

    Args:
        region: bound to every event, so that logs of several regions can't be confused.
        level: the least level that is written, as `info`.
        form: `json`, `console`, or `auto`: console on a terminal, JSON elsewhere.
        stream: where to write; standard error if not given.
        process: bound to every event where several processes share a stream.
    """
    target = sys.stderr if stream is None else stream
    console = _readers.are_people = form == "console" or (form == "auto" and target.isatty())
    least = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _note_error,
            Repetitions(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_values,
            _bind(region, process),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        # One write a line, so that lines of several processes on one stream stay apart.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Unfailing(target))),
        cache_logger_on_first_use=False,
    )


class _Unfailing:
    """A stream of lines that loses those that have no room; a full disk under the log stops nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write and flush."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()

    def flush(self) -> None:
        """Nothing waits."""


class _Readers:
    """Who reads what this process writes."""

    are_people = True


_readers = _Readers()


def is_for_people() -> bool:
    """Whether lines are, as they were last configured, for a person to read."""
    return _readers.are_people


class _Last:
    """What this process last told of an error."""

    error = ""


def last_error() -> str:
    """Return the last line with an error that this process told, `event: error`; empty where there was none."""
    return _Last.error


def _note_error(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if event.get("error"):
        _Last.error = f"{event['event']}: {event['error']}"
    return event


class Repetitions:
    """
    Lets the first lines of a kind pass, then one every while, which says in `left_out` how many it stands for.

    Two lines are of one kind where event, route, client, reason, topic, partition and process are the same. A client
    without its broker would otherwise write a hundred lines a second.

    Args:
        burst: how many pass at once.
        every_s: after those, one in so many seconds; so long without a line begins a new burst.
        clock: seconds, monotonic.
    """

    def __init__(
        self, burst: int = _BURST, every_s: float = _EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst, self._every_s, self._clock = burst, every_s, clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, ...], _Kind] = {}

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Return the line, or drop it."""
        if method in _ALWAYS:
            return event
        kind = tuple(str(event.get(name, "")) for name in _KIND)
        with self._lock:
            burst = min(self._burst, _BURSTS.get(kind[0], self._burst))
            left_out = self._seen.setdefault(kind, _Kind()).pass_one(self._clock(), burst, self._every_s)
        if left_out is None:
            raise structlog.DropEvent
        if left_out:
            event["left_out"] = left_out
        return event


class _Kind:
    """What was written and left out of one kind."""

    __slots__ = ("_began", "_last", "_left_out", "_passed")

    def __init__(self) -> None:
        self._began = self._last = float("-inf")
        self._passed = self._left_out = 0

    def pass_one(self, now: float, burst: int, every_s: float) -> int | None:
        """Return how many were left out before this line, None where it is left out itself."""
        if now - self._last >= every_s and now - self._began >= every_s:
            self._began, self._passed = now, 0
        if self._passed >= burst:
            self._left_out += 1
            return None
        self._passed += 1
        # After the first burst a window has one line.
        if self._left_out:
            self._passed = burst
        self._last = now
        left_out, self._left_out = self._left_out, 0
        return left_out


class _Forward(logging.Handler):
    """Writes what libraries log as events of their own."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        text = record.getMessage()[:_LIBRARY_TEXT]
        log = structlog.get_logger()
        error = record.exc_info[1] if record.exc_info else None
        told = {} if error is None else {"cause": type(error).__name__, "at": places(error)}
        log.log(record.levelno, "library", logger=record.name, text=text, **told)


def take_over() -> None:
    """Let nothing else write to standard error: libraries' logs, warnings, and what ends a thread or the process."""
    # Of what is retried `paused` tells, with its route; each try counts in a metric.
    stamina.instrumentation.set_on_retry_hooks(())
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    sys.excepthook = _crashed
    threading.excepthook = lambda args: _crashed(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback, thread=args.thread
    )


def _crashed(
    kind: type[BaseException],
    error: BaseException,
    _trace: TracebackType | None,
    thread: threading.Thread | None = None,
) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    where = {} if thread is None else {"thread": thread.name}
    structlog.get_logger().critical("crashed", cause=kind.__name__, at=places(error), **where)


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
