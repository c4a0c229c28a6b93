"""Backups that make themselves: at an interval, into a directory, of which the newest are kept."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from worker.authority.audit import Trail
from worker.authority.erasure.subjects import Subjects
from worker.authority.files import own_directory, write_whole
from worker.authority.recovery.backup import check_recipients, write_backup
from worker.authority.refusal import Refusal
from worker.errors import WorkerError

_log = structlog.get_logger(__name__)
# A failed one is tried again sooner than the next is due.
_AGAIN_S = 300.0
_LOOK_S = 60.0


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """
    Where backups go, and when.

    Args:
        directory: on another disk or a mount of another host; made if absent, readable by its owner alone.
        recipients: age public keys, each of which opens every backup.
        every_s: the interval.
        keep: how many stay.
    """

    directory: Path
    recipients: tuple[str, ...]
    every_s: float = 86_400.0
    keep: int = 7


class Backups:
    """
    Makes backups until closed; the first at once where the last is older than the interval.

    Args:
        options: where and when.
        subjects: has the store that is backed up, as of one version, opens its trees, and destroys backups' keys.
        trail: where each has a line.
        made: told of each.
        last: when the last was made, seconds since 1970.
        clock: the same seconds.

    Raises:
        ConfigError: a recipient is none.
    """

    def __init__(
        self,
        options: BackupOptions,
        subjects: Subjects,
        trail: Trail,
        made: Callable[[], None],
        *,
        last: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_recipients(list(options.recipients))
        own_directory(options.directory)
        self._options, self._subjects, self._trail, self._made, self._clock = options, subjects, trail, made, clock
        self._store = subjects.store
        self._last = last
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backups", daemon=True)
        self._thread.start()

    def make(self) -> Path:
        """Make one now, and let the oldest go beyond those that are kept; its line is durable before it counts."""
        at = datetime.fromtimestamp(self._clock(), UTC)
        path = self._options.directory / f"authority-{self._store.region}-{at:%Y%m%dT%H%M%S.%fZ}.age"
        try:
            data = write_backup(self._store, list(self._options.recipients), self._subjects, _label(path))
            version = self._store.head.version
            write_whole(path, data)
        except BaseException:
            # Nobody has it: each attempt would leave a key, and be told for ever to hold what is erased.
            with contextlib.suppress(Refusal, WorkerError, SQLAlchemyError):
                self._subjects.epochs.expire(_label(path))
            raise
        what = {"recipients": list(self._options.recipients), "version": version, "bytes": len(data), "file": path.name}
        self._trail.record({"operation": "backup", "outcome": "allowed", "what": what})
        self._made()
        # Not the one just made, whatever the clock said of others.
        for old in (each for each in self.kept[: -self._options.keep] if each != path):
            # Its key first: a backup whose key is still there is not left lying anywhere else.
            self._subjects.epochs.expire(_label(old))
            old.unlink()
        return path

    @property
    def kept(self) -> list[Path]:
        """The backups that there are, oldest first."""
        return sorted(self._options.directory.glob(f"authority-{self._store.region}-*.age"))

    def close(self) -> None:
        """Make no more."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._ending.wait(pause_s):
            left_s = self._last + self._options.every_s - self._clock()
            # More than the interval: the clock has been put back, and the last may be of any age.
            if 0 < left_s <= self._options.every_s:
                pause_s = min(left_s, _LOOK_S)
                continue
            try:
                self._store.refresh()
                if self._store.head.lock:
                    # Restored, and nobody has said yet that it is to go on: older ones are not let go for its own.
                    pause_s = _LOOK_S
                    continue
                self.make()
                self._last, pause_s = self._clock(), 0.0
            except (OSError, Refusal, WorkerError, SQLAlchemyError) as exc:
                # Keys go on; the age of the last backup is what tells the operator.
                told = str(exc) if isinstance(exc, WorkerError) else getattr(exc, "strerror", None)
                _log.error("backup_failed", cause=told or type(exc).__name__)
                pause_s = _AGAIN_S


def _label(path: Path) -> str:
    """Return what the key of a backup's trees is named by: when it was made."""
    return path.stem.rpartition("-")[2].lower().replace(".", "")
