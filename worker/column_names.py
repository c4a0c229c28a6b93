"""Names of a table's columns, as whoever writes and whoever reads them must find them."""

from __future__ import annotations

import hashlib

MAX_NAME_BYTES = 63
"""PostgreSQL cuts longer names."""


def column_name(field_name: str) -> str:
    """
    The name of a field's column: its own, or where that has more than 63 bytes a shorter one that stays the same.

    The short one is the name's first 54 bytes, cut between characters, `_`, and the first 8 hex digits of its SHA-256.
    A value that is no record has no name, and the column `value`.
    """
    if not field_name:
        return "value"
    data = field_name.encode()
    if len(data) <= MAX_NAME_BYTES:
        return field_name
    return f"{data[:54].decode(errors='ignore')}_{hashlib.sha256(data).hexdigest()[:8]}"
