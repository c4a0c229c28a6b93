"""What an authority's audit said of a client's own requests, until a ledger has it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from itertools import islice
from uuid import UUID

_PLACE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12} [0-9]{1,18} [0-9a-f]{64}")


class Receipts:
    """
    The places of audit lines that answers named, oldest first; thread-safe.

    A receipt is text: `<chain> <seq> <hash>`, as the answer's header `audit-entry` has it, and the request's id where
    its body named one. One is held until it is `kept`; of those that nobody keeps the newest stay.

    Args:
        most: how many are held.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._held: dict[str, None] = {}

    def note(self, entry: str | None, request_id: UUID | None = None) -> None:
        """Hold an answer's receipt; None, or what is no place of a line, is none."""
        if entry is None or _PLACE.fullmatch(entry) is None:
            return
        with self._lock:
            self._held[entry if request_id is None else f"{entry} {request_id}"] = None
            if len(self._held) > self._most:
                del self._held[next(iter(self._held))]

    def held(self, most: int) -> tuple[str, ...]:
        """Return the oldest that are held."""
        with self._lock:
            return tuple(islice(self._held, most))

    def kept(self, receipts: Iterable[str]) -> None:
        """Hold these no longer: they lie where they last."""
        with self._lock:
            for receipt in receipts:
                self._held.pop(receipt, None)

    def take(self) -> list[str]:
        """Return all that are held, and hold them no longer."""
        with self._lock:
            taken, self._held = list(self._held), {}
        return taken


def as_json(receipt: str) -> dict[str, str | int]:
    """Return a receipt as `worker authority audit verify --against` reads it."""
    chain, sequence, digest, *request_id = receipt.split()
    return {
        "chain": chain,
        "seq": int(sequence),
        "hash": digest,
        **({"request_id": request_id[0]} if request_id else {}),
    }
