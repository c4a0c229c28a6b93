"""The standard streams: there from the first line, and written to the last byte or told why not."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from worker.errors import SinkUnavailable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def open_missing() -> None:
    """Open what the caller closed (`>&-`) on nothing: the next file or socket would take its number, and its lines."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


@contextmanager
def written() -> Iterator[None]:
    """
    Write what is printed within to its last byte.

    Raises:
        SinkUnavailable: standard output takes no more, as where the disk of a redirection is full.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as exc:
        if exc.filename is not None or exc.errno not in _FULL:
            raise
        # What is left in memory would be tried, and told of, once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SinkUnavailable(f"what is printed can't be written: {exc.strerror}; it is not complete") from None
    except SystemExit:
        with written():
            pass
        raise
