"""What the demonstration claims of one region's output, each looked at in what really lies there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg.rows import dict_row

from worker.demo.customers import ENCRYPTED
from worker.demo.site import OUTPUT, Site

_FRAME_BYTES = 5
# Shorter strings occur in random bytes by chance, and prove nothing.
_SEARCHABLE_CHARACTERS = 6
_ROWS: LiteralString = "SELECT * FROM crm.customers ORDER BY _topic, _partition, _offset"


class ClaimFailedError(Exception):
    """Something is not as the demonstration says; the message says what."""


def require(holds: bool, claim: str) -> None:
    """Raise `ClaimFailedError` unless the claim holds."""
    if not holds:
        raise ClaimFailedError(f"not as claimed: {claim}")


@dataclass(frozen=True, slots=True)
class Output:
    """
    What one worker wrote.

    Args:
        messages: the topic's datums by customer id, without their frames.
        rows: the table's rows by customer id.
    """

    messages: Mapping[str, bytes]
    rows: Mapping[str, Mapping[str, object]]


def collect(site: Site, written: Mapping[str, Mapping[str, object]]) -> Output:
    """Read topic and table back, and require every customer once in each, and no plaintext in either."""
    messages = site.messages(OUTPUT)
    with psycopg.connect(site.dsn, row_factory=dict_row) as connection:
        rows = connection.execute(_ROWS).fetchall()
    require(len(messages) == len(written), f"{len(written):,} customers in the topic, found {len(messages):,}")
    require(len(rows) == len(written), f"{len(written):,} customers in the table, found {len(rows):,}")
    output = Output(
        {key: value[_FRAME_BYTES:] for key, value in messages},
        {str(row["id"]): row for row in rows},
    )
    require(output.messages.keys() == written.keys(), "each customer once in the topic")
    require(output.rows.keys() == written.keys(), "each customer once in the table")
    _require_hidden(site, written, output)
    return output


def _require_hidden(site: Site, written: Mapping[str, Mapping[str, object]], output: Output) -> None:
    log = site.worker_log
    for identity, record in written.items():
        row = b"\0".join(v for v in output.rows[identity].values() if isinstance(v, bytes))
        for name in ENCRYPTED:
            text = record[name]
            if not isinstance(text, str) or len(text) < _SEARCHABLE_CHARACTERS:
                continue
            plain = text.encode()
            require(plain not in output.messages[identity], f"{identity}: {name} is unreadable in the topic")
            require(plain not in row, f"{identity}: {name} is unreadable in the table")
            require(name != "email" or text not in log, f"{identity}: {name} is not in the worker's log")
