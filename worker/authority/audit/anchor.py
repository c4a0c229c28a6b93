"""The anchor: signed heads of a chain, appended where whoever can write the trail can only append."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import orjson
import structlog

from worker.authority.audit.trail import Trail
from worker.authority.files import own_file

_log = structlog.get_logger(__name__)


class Anchor:
    """
    Appends a chain's newest head to a file, at an interval and at the end, where it has moved.

    Args:
        trail: whose head.
        path: on a place that keeps what it was given, such as a bucket under object lock or a log host's mount.
        every_s: the interval; what is younger than it can be rewritten unnoticed.
    """

    def __init__(self, trail: Trail, path: Path, *, every_s: float = 60.0) -> None:
        self._trail, self._path, self._every_s = trail, path, every_s
        self._last = -1
        self._ending = threading.Event()
        own_file(path, create=True)
        self._thread = threading.Thread(target=self._run, name="anchor", daemon=True)
        self._thread.start()

    def keep(self) -> None:
        """Append the head now, if it has moved."""
        head = self._trail.head
        if head.place.sequence == self._last:
            return
        line = orjson.dumps(head.to_json()) + b"\n"
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                # What a full disk left of a line; it ends here and is none.
                line = b"\n" + line
            if os.write(fd, line) != len(line):
                raise OSError(errno.ENOSPC, "the disk is full")
            os.fsync(fd)
        finally:
            os.close(fd)
        self._last = head.place.sequence

    def close(self) -> None:
        """Append the last head."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(self._every_s)
            try:
                self.keep()
            except OSError as exc:
                # The trail itself goes on: an anchor that lags is seen by whoever verifies against it.
                _log.error("anchor_not_written", path=str(self._path), cause=exc.strerror)
