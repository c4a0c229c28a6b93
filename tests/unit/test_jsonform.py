"""Values as JSON without loss."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from worker import jsonform
from worker.model.values import base_value

SPECIAL = {"nan": float("nan"), "up": float("inf"), "down": [float("-inf")], "one": 1.5}


def read(value: object) -> Any:
    return json.loads(jsonform.dumps(value), parse_constant=lambda word: f"not JSON: {word}")


def test_numbers_that_json_has_not_become_their_names() -> None:
    """No NaN becomes null: the text is what PostgreSQL's casts read."""
    assert read(SPECIAL) == {"nan": "NaN", "up": "Infinity", "down": ["-Infinity"], "one": 1.5}


def test_types_that_json_has_not_become_their_text() -> None:
    """Bytes are base64, all else as Python says it."""
    values = {"b": b"\x00\xff", "d": Decimal("1.50"), "u": UUID(int=1), "t": datetime(2026, 1, 2, tzinfo=UTC)}

    assert read(values) == {
        "b": "AP8=",
        "d": "1.50",
        "u": "00000000-0000-0000-0000-000000000001",
        "t": "2026-01-02T00:00:00+00:00",
    }


@given(st.times() | st.datetimes() | st.datetimes(timezones=st.just(UTC)) | st.dates())
def test_times_keep_every_digit_of_their_fraction(value: date | time) -> None:
    """22 milliseconds are not 220."""
    assert read([time(0, 0, 0, 22_000), value]) == ["00:00:00.022000", value.isoformat()]


def test_marks_name_each_base_value() -> None:
    """A base value is itself in JSON; its path and logical type are told beside it."""
    marks: dict[str, str] = {}
    value = {"at": base_value(2**62, "timestamp-micros"), "ids": [{"id": base_value("n/a", "uuid")}], "n": 1}

    assert json.loads(jsonform.dumps(jsonform.plain(value, "", marks))) == {"at": 2**62, "ids": [{"id": "n/a"}], "n": 1}
    assert marks == {"at": "timestamp-micros", "ids[0].id": "uuid"}
