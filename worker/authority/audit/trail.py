"""Writes one chain: many requests' lines in one flush, none acknowledged before it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from worker import failpoints, log
from worker.authority.audit.chain import FIRST, Place, SignedHead, body_of, hash_of, line_of
from worker.authority.audit.hashed import ContextHash
from worker.authority.audit.segments import closed_name, first_sequence, newest_line, segments
from worker.authority.files import own_file
from worker.authority.refusal import Refusal

_log = structlog.get_logger(__name__)
_UNWRITABLE = "the audit trail can't be written"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a line is written: its place, and the signed head of the flush that it went with."""

    place: Place
    head: SignedHead


@dataclass(frozen=True, slots=True)
class TrailKeys:
    """
    What a trail keeps to itself.

    Args:
        secret: 32 bytes; hashes contexts.
        signing: signs heads.
    """

    secret: bytes = field(repr=False)
    signing: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Waiting:
    body: bytes
    receipt: Future[Receipt]


class Trail:
    """
    Appends to a JSON Lines file; thread-safe.

    A write that fails is cut off again and the next request tries anew. A flush that fails is never tried again, for
    the system may have dropped what it could not write: the trail stops, and with it every answer.

    Args:
        path: the file; made if absent, readable by its owner alone.
        keys: hash contexts and sign heads.
        region: stands on every line.
        sync: waits until lines are on the disk.
        store: the store's incarnation and version, which stand on every line: one put back behind them is noticed.
        segment_bytes: a file longer than this is closed under its first line's number and another begun.

    `hash` hashes contexts; `last_store` is the incarnation and version on the newest line found.
    """

    def __init__(
        self,
        path: Path,
        keys: TrailKeys,
        region: str,
        *,
        sync: bool = True,
        store: Callable[[], tuple[int, int]] = lambda: (0, 0),
        segment_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self._signing = keys.signing
        self._region, self._sync, self._store = region, sync, store
        self._segment_bytes = segment_bytes
        self.path = path
        self.hash = ContextHash(keys.secret)
        self.stopped: str | None = None
        self._condition = threading.Condition()
        self._writing = threading.Lock()
        self._pending: list[_Waiting] = []
        self._closing = False
        self._place, self._cut_bytes, self._before = _recover(path)
        own_file(path, create=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._fd).st_size
        self.last_store = int(self._before.get("incarnation", 0)), int(self._before.get("store", 0))
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        if sync:
            self._thread.start()

    def begin(self) -> None:
        """Write the chain's first line, or that a torn one was cut off; after the store has been checked."""
        if self._place.sequence < 0:
            self.record({"operation": "chain", "outcome": "begun", "before": self._before.get("file")})
        elif self._cut_bytes:
            self.record({"operation": "chain", "outcome": "recovered", "cut_bytes": self._cut_bytes})

    @property
    def descriptor(self) -> int:
        """The open file's descriptor."""
        return self._fd

    @property
    def public_key(self) -> bytes:
        """The raw Ed25519 key that heads are signed with."""
        return self._signing.public_key().public_bytes_raw()

    @property
    def head(self) -> SignedHead:
        """The newest line, signed."""
        with self._writing:
            return self._sign(self._place)

    def append(self, event: dict[str, Any]) -> Future[Receipt]:
        """Write one line; the future has its receipt once it is durable, or a 503. Raises a 500 for what is no JSON."""
        try:
            # By whoever asks: what can't be written concerns its own request, and not the thread that writes all.
            body = body_of({"time": datetime.now(UTC), "region": self._region, **event})
        except TypeError:
            _log.error("audit_not_written", cause="the event is no JSON")
            raise Refusal(500, "the authority failed") from None
        waiting = _Waiting(body, Future())
        waiting.receipt.set_running_or_notify_cancel()
        if not self._sync:
            self._write([waiting])
            return waiting.receipt
        with self._condition:
            if self._closing or self.stopped:
                raise Refusal(503, self.stopped or _UNWRITABLE)
            self._pending.append(waiting)
            self._condition.notify()
        return waiting.receipt

    def record(self, event: dict[str, Any]) -> Receipt:
        """Write one line and wait until it is durable; raises a 503 where it can't be."""
        return self.append(event).result()

    def close(self) -> None:
        """Write what waits and close the file."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._sync:
            self._thread.join()
        os.close(self._fd)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._pending or self._closing)
                batch, self._pending = self._pending, []
            if not batch:
                return
            try:
                self._write(batch)
            except Exception as exc:
                # Whoever waits must hear of it, or waits for ever.
                self.stopped = f"the audit trail failed ({type(exc).__name__}); the authority stops"
                _log.error("audit_failed", cause=type(exc).__name__, at=log.places(exc))
                for waiting in (waiting for waiting in batch if not waiting.receipt.done()):
                    waiting.receipt.set_exception(Refusal(503, _UNWRITABLE))

    def _write(self, batch: list[_Waiting]) -> None:
        with self._writing:
            place, lines, places = self._place, [], []
            store = self._store()
            for waiting in batch:
                line = line_of(waiting.body, place, store)
                place = Place(place.chain, place.sequence + 1, hash_of(line))
                lines.append(line + b"\n")
                places.append(place)
            try:
                self._close_segment()
                self._put(b"".join(lines))
            except OSError as exc:
                _log.error("audit_not_written", cause=exc.strerror, stopped=self.stopped is not None)
                for waiting in batch:
                    waiting.receipt.set_exception(Refusal(503, _UNWRITABLE))
                return
            self._place = place
            head = self._sign(place)
        for waiting, at in zip(batch, places, strict=True):
            waiting.receipt.set_result(Receipt(at, head))

    def _sign(self, place: Place) -> SignedHead:
        return SignedHead.sign(self._signing, self._region, place, self._store())

    def _close_segment(self) -> None:
        """Begin another file where this one is long; the chain goes on in it."""
        if self._size < self._segment_bytes or self.stopped:
            return
        self.path.rename(self.path.with_name(closed_name(first_sequence(self.path))))
        own_file(self.path, create=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.dup2(fd, self._fd)
        os.close(fd)
        self._size = 0

    def _put(self, data: bytes) -> None:
        if self.stopped:
            raise OSError(0, self.stopped)
        try:
            failpoints.hit("audit_write")
            written = os.write(self._fd, data)
            if written != len(data):
                raise OSError(28, "the disk is full")
        except OSError:
            self._cut()
            raise
        if self._sync:
            try:
                failpoints.hit("audit_flush")
                os.fdatasync(self._fd)
            except OSError:
                self.stopped = "the audit trail could not be flushed to the disk; the authority stops"
                raise
        self._size += len(data)

    def _cut(self) -> None:
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self.stopped = "the audit trail can't be mended; the authority stops"


def _recover(path: Path) -> tuple[Place, int, dict[str, Any]]:
    """Return the last whole line's place, the bytes of a torn one cut off, and what came before the chain."""
    files = segments(path.parent)
    if files and files[-1] == path and not path.stat().st_size:
        # Stopped between closing one file and the next one's first line.
        files.pop()
    if not files:
        return Place(str(uuid4()), -1, FIRST), 0, {}
    with files[-1].open("r+b") as file:
        line, end, torn = newest_line(file)
        try:
            entry = orjson.loads(line) if line else {}
        except orjson.JSONDecodeError:
            entry = {}
        if "seq" in entry:
            if torn:
                file.truncate(end)
                file.flush()
                os.fsync(file.fileno())
            return Place(entry["chain"], entry["seq"], hash_of(line)), torn, entry
    return Place(str(uuid4()), -1, FIRST), 0, {"file": _put_aside(path)}


def _put_aside(path: Path) -> dict[str, str]:
    """Keep a trail from before lines were chained, and say so at the chain's beginning."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    aside = path.with_name(f"{path.stem}-before-{digest[:8]}{path.suffix}")
    path.rename(aside)
    return {"name": aside.name, "sha256": digest}
