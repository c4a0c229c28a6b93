"""The audit trail: one JSON line per derivation request, written before the answer leaves."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from worker.authority.refusal import Refusal


class AuditHook(Protocol):
    """Where every derivation request is told, allowed or refused; an answer waits for it."""

    def record(self, event: dict[str, Any]) -> None:
        """Keep one event; raising refuses the request."""
        ...

    def hash(self, context: bytes) -> str:
        """Return a keyed hash of a context, so that equal ones can be found without being read."""
        ...


class AuditFile:
    """
    Appends to a JSON Lines file.

    Args:
        path: the file; made if absent, readable by its owner alone.
        key: 32 bytes for the hashes of contexts.
        region: stands on every line.
        sync: waits until a line is on the disk, at one flush per request.
    """

    def __init__(self, path: Path, key: bytes, region: str, *, sync: bool = False) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._key = key
        self._region = region
        self._sync = sync
        self._lock = threading.Lock()

    @property
    def descriptor(self) -> int:
        """The open file's descriptor."""
        return self._fd

    def record(self, event: dict[str, Any]) -> None:
        """Append one line; raises a 503 where it can't be written in full."""
        line = orjson.dumps({"time": datetime.now(UTC), "region": self._region, **event}) + b"\n"
        try:
            with self._lock:
                written = os.write(self._fd, line)
                if self._sync:
                    os.fsync(self._fd)
        except OSError as exc:
            raise Refusal(503, "the audit trail can't be written") from exc
        if written != len(line):
            raise Refusal(503, "the audit trail can't be written")

    def hash(self, context: bytes) -> str:
        """Return 16 bytes of HMAC-SHA256 in hex."""
        return hmac.new(self._key, context, hashlib.sha256).hexdigest()[:32]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
