"""Finds entries of a trail by identity, keyset, field and time, without reading more of a line than it must."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from worker.authority.audit.chain import mark_of
from worker.authority.audit.segments import lines

_EACH = b'"each":"'
"""What a line has whose descriptors were too many to stand there; they are told by their marks."""


@dataclass(frozen=True, slots=True)
class Query:
    """
    What to find; what is None is not asked for.

    Args:
        workspace: whose entries.
        subject: of the token; an access key's is `CS|CSAK<id>`.
        client: a client's uuid.
        keyset: a keyset's uuid or name.
        field: a descriptor.
        operation: `generate`, `retrieve`, `load`, `grant-keyset`, ...
        outcome: `allowed`, `refused`, `malformed` or `failed`.
        since: not before.
        until: before.
    """

    workspace: str | None = None
    subject: str | None = None
    client: str | None = None
    keyset: str | None = None
    field: str | None = None
    operation: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def find(self, directory: Path, *, after: int = -1) -> Iterator[dict[str, Any]]:
        """Yield the entries found after a number, oldest first."""
        texts = (self.workspace, self.subject, self.client, self.keyset, self.operation, self.outcome)
        # A line that has not the words at all is not parsed.
        needles = [orjson.dumps(text)[1:-1] for text in texts if text is not None]
        field = b"" if self.field is None else orjson.dumps(self.field)[1:-1]
        for _, _, line in lines(directory, after):
            if all(needle in line for needle in needles) and (field in line or _EACH in line):
                try:
                    entry = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue
                if entry.get("seq", -1) > after and self._matches(entry):
                    yield entry

    def _matches(self, entry: dict[str, Any]) -> bool:
        same = (
            (self.workspace, entry.get("workspace")),
            (self.subject, entry.get("subject")),
            (self.client, entry.get("client")),
            (self.operation, entry.get("operation")),
            (self.outcome, entry.get("outcome")),
        )
        if any(wanted is not None and wanted != found for wanted, found in same):
            return False
        if self.keyset is not None and self.keyset not in (entry.get("keyset"), entry.get("keyset_name")):
            return False
        if self.field is not None and not _names(entry, self.field):
            return False
        if self.since is None and self.until is None:
            return True
        at = datetime.fromisoformat(entry["time"])
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


def _names(entry: dict[str, Any], field: str) -> bool:
    descriptors = entry.get("descriptors", {})
    marks = descriptors.get("each")
    if not isinstance(marks, str):
        return field in descriptors
    mark = mark_of(field, bytes.fromhex(entry["salt"]))
    return any(marks[at : at + len(mark)] == mark for at in range(0, len(marks), len(mark)))


def last(entries: Iterable[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return the newest entries, oldest first."""
    return list(deque(entries, count))
