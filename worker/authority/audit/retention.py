"""How long a trail is kept: whole closed files go, oldest first, and the chain itself says so."""

from __future__ import annotations

import threading
from pathlib import Path

import orjson
import structlog

from worker.authority.audit.ageing import Ageing
from worker.authority.audit.chain import hash_of
from worker.authority.audit.segments import ACTIVE, first_time, segments
from worker.authority.audit.trail import Trail
from worker.authority.refusal import Refusal

_log = structlog.get_logger(__name__)


class Retention:
    """
    Deletes what is older than the bound, at the start and then again and again.

    A file is as old as its last line and as the line after that, so that what stays says of what went how old it was.

    Args:
        trail: whose closed files.
        keep_s: how long after its last line a file stays.
        every_s: how often it is looked at.
        ageing: says what time it is.
    """

    def __init__(self, trail: Trail, keep_s: float, *, every_s: float = 60.0, ageing: Ageing | None = None) -> None:
        self._trail, self._keep_s, self._every_s = trail, keep_s, every_s
        self._ageing = Ageing(trail.path.parent) if ageing is None else ageing
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def apply(self) -> list[Path]:
        """
        Delete the files that are old enough, and return them.

        The line that says up to where is on the disk before the first of them goes, so that whoever verifies the rest
        against an anchor knows what was let go from what was cut off.
        """
        files = segments(self._trail.path.parent)
        closed = [path for path in files if path.name != ACTIVE]
        before = self._ageing.look(closed) - self._keep_s
        gone: list[Path] = []
        for path, following in zip(closed, files[1:], strict=False):
            if path.stat().st_mtime >= before or not _begins_before(following, before):
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
        is_over = False
        while not is_over:
            try:
                self.apply()
            except (OSError, Refusal, ValueError, KeyError) as exc:
                # Nothing is lost by keeping more than was asked for.
                _log.error("audit_not_expired", cause=type(exc).__name__)
            is_over = self._ending.wait(self._every_s)


def _begins_before(path: Path, bound: float) -> bool:
    begun = first_time(path)
    return begun is not None and begun < bound
