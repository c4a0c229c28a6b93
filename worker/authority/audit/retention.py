"""How long a trail is kept: whole closed files go, oldest first, and the chain itself says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import structlog

from worker.authority.audit.chain import hash_of
from worker.authority.audit.segments import ACTIVE, segments
from worker.authority.audit.trail import Trail
from worker.authority.refusal import Refusal

_log = structlog.get_logger(__name__)


class Retention:
    """
    Deletes what is older than the bound, at the start and once an hour.

    Args:
        trail: whose closed files.
        keep_s: how long after its last line a file stays.
        every_s: how often it is looked at.
        clock: seconds since 1970, as files have them.
    """

    def __init__(
        self, trail: Trail, keep_s: float, *, every_s: float = 3600.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._trail, self._keep_s, self._every_s, self._clock = trail, keep_s, every_s, clock
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def apply(self) -> list[Path]:
        """
        Delete the files that are old enough, and return them.

        The line that says up to where is on the disk before the first of them goes, so that whoever verifies the rest
        against an anchor knows what was let go from what was cut off.
        """
        before = self._clock() - self._keep_s
        gone: list[Path] = []
        for path in segments(self._trail.path.parent):
            if path.name == ACTIVE or path.stat().st_mtime >= before:
                break
            gone.append(path)
        if gone:
            last = gone[-1].read_bytes().rstrip(b"\n").rpartition(b"\n")[2]
            through = {"through": int(orjson.loads(last)["seq"]), "through_hash": hash_of(last)}
            self._trail.record({"operation": "chain", "outcome": "expired", **through})
            for path in gone:
                path.unlink()
        return gone

    def close(self) -> None:
        """Stop looking."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self.apply()
            except (OSError, Refusal, ValueError, KeyError) as exc:
                # Nothing is lost by keeping more than was asked for.
                _log.error("audit_not_expired", cause=type(exc).__name__)
            self._ending.wait(self._every_s)
