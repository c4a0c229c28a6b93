"""The standard streams: there from the first line, and output's failures say that it is it."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from worker.errors import ConfigError, WorkerError, unwritten

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_CLOSED: set[int] = set()
"""Which of the streams the caller had closed."""


class _Named(io.FileIO):
    """The descriptor."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, as any file; raises `SinkUnavailable` where there is no room."""
        try:
            return super().write(data)
        except OSError as exc:
            # A reader that has seen enough, as `head` has, is no fault.
            if exc.errno == errno.EPIPE:
                raise
            raise unwritten("standard output", exc) from exc


def open_missing() -> None:
    """Open what the caller closed (`>&-`) on nothing: the next file or socket would take its number, and its lines."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _CLOSED.add(number)
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def refuse_closed(*, reads: bool = False) -> None:
    """
    Refuse a closed standard output where what is printed is all that a command does.

    Args:
        reads: standard input is what it does this to, and must be open as well.

    Raises:
        ConfigError: one is closed; as an empty one it would end as if all had gone well.
    """
    for number, name in ((0, "input"), (1, "output")):
        if number in _CLOSED and (number or reads):
            raise ConfigError(f"standard {name} is closed; give the command a file, a pipe or /dev/null there")


def read_lines() -> Iterator[bytes]:
    """Yield standard input's lines without their ends, nor the byte-order mark that files of Windows begin with."""
    for number, line in enumerate(sys.stdin.buffer):
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        yield text if number else text.removeprefix(codecs.BOM_UTF8)


def named(out: TextIO) -> TextIO:
    """
    Return the same stream, whose failures are errors that say what it is.

    The system's own errors of a stream say no more than a number.
    """
    out.flush()
    try:
        number = out.fileno()
    except io.UnsupportedOperation:  # A caller's own, in memory.
        return out
    return io.TextIOWrapper(
        io.BufferedWriter(_Named(number, "w", closefd=False)),
        encoding=out.encoding,
        errors=out.errors,
        line_buffering=out.isatty(),
    )


def give_up() -> None:
    """Let go of what standard output does not take: at the exit it would be tried, and told, once more."""
    try:
        sys.stdout.flush()
    except (OSError, WorkerError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
