"""Times that options give."""

from __future__ import annotations

from datetime import UTC, datetime

from worker.errors import ConfigError


def moment(option: str, text: str | None) -> datetime | None:
    """Read a time, in UTC where it says no other; None where none is given. Raises `ConfigError`, naming the option."""
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text!r} is no time; write it as 2026-01-31T12:00:00Z") from None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)
