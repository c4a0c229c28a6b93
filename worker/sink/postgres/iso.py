"""Values as the text that PostgreSQL reads as themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from uuid import UUID

_EPOCH_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000


def iso_date(days: int) -> str:
    """Days since 1970 as ISO 8601."""
    return date.fromordinal(days + _EPOCH_1970.toordinal()).isoformat()


def iso_time(unit_us: int) -> Callable[[int], str]:
    """A count since midnight as ISO 8601."""

    def encode(count: int) -> str:
        us = count * unit_us
        if not 0 <= us < _DAY_US:
            raise ValueError("a time outside of a day")
        return (_EPOCH_1970 + timedelta(microseconds=us)).time().isoformat()

    return encode


def iso_instant(unit_ns: int, zoned: bool) -> Callable[[int], str]:
    """A count since 1970 as ISO 8601."""

    def encode(count: int) -> str:
        us, rest = divmod(count * unit_ns, 1000)
        moment = (_EPOCH_1970 + timedelta(microseconds=us)).replace(tzinfo=None)
        local = f"{moment.isoformat(timespec='microseconds')}{rest:03d}" if unit_ns == 1 else moment.isoformat()
        return f"{local}+00:00" if zoned else local

    return encode


def uuid_text(value: bytes) -> str:
    """The 16 bytes of a uuid as its text."""
    return str(UUID(bytes=value))


def float_text(value: float) -> str:
    """A float as the shortest text that is it again, in PostgreSQL's words where it is no number."""
    return repr(value) if isfinite(value) else "NaN" if value != value else f"{'-' * (value < 0)}Infinity"
