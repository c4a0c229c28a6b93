"""
The audit: one JSON line per request, allowed or refused, written before the answer leaves.

Contexts are kept as keyed hashes, so that equal ones can be found without being read.
"""

from __future__ import annotations

import hashlib
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

_MAX_DESCRIPTORS = 32


class Audit:
    """
    Appends to a JSON Lines file in the region; thread-safe.

    Args:
        path: made where missing, readable by its owner alone.
        region, workspace: stand on every line.
        key: for the hashes of contexts, secret.
    """

    def __init__(self, path: Path, *, region: str, key: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(fd, "ab", buffering=0)
        self._lock = threading.Lock()
        self._region, self._key = region, key

    def write(self, **event: object) -> None:
        """Append one event."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "region": self._region, **event}
        with self._lock:
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def derivation(self, operation: str, subject: str, body: dict[str, Any], outcome: str, seconds: float) -> None:
        """Append one derivation request; whatever in it is malformed is left out."""
        keys = body.get("keys")
        items = [k for k in keys if isinstance(k, dict)] if isinstance(keys, list) else []
        descriptors = sorted({d for k in items if isinstance(d := k.get("descriptor"), str) and len(d) <= 512})
        contexts = {self._hash(k["context"]) for k in items if k.get("context")}
        self.write(
            operation=operation,
            subject=subject,
            client=_short(body.get("client_id")),
            keyset=_keyset(body.get("keyset_id", body.get("dataset_id"))),
            count=len(items),
            descriptors=descriptors[:_MAX_DESCRIPTORS],
            contexts=sorted(contexts)[:_MAX_DESCRIPTORS],
            unverified_context=_bounded(body.get("unverified_context")),
            outcome=outcome,
            seconds=round(seconds, 6),
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _hash(self, context: object) -> str:
        return hashlib.blake2b(orjson.dumps(context), key=self._key, digest_size=16).hexdigest()


def _short(value: object) -> str | None:
    return value[:64] if isinstance(value, str) else None


def _keyset(value: object) -> str | None:
    return _short(next(iter(value.values()), None) if isinstance(value, dict) else value)


def _bounded(value: object) -> object:
    return value if isinstance(value, dict) and len(orjson.dumps(value)) <= 4096 else None
