"""Which records `worker decrypt` shows; and that a slip in what was asked for is no empty answer."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from worker.cli.sources import Selection
from worker.errors import ConfigError

VALUE: dict[str, object] = {
    "id": 7,
    "name": "Ann",
    "vip": True,
    "rate": 0.5,
    "limit": Decimal("1.10"),
    "born": date(1986, 3, 1),
    "seen": datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
    "uid": UUID("de2df598-9948-4988-b00a-a41c0e287398"),
    "home": {"city": "Oslo"},
    "work": None,
}


def selection(*where: str, from_: str | None = None, to: str | None = None) -> Selection:
    return Selection.of(from_=from_, to=to, key=None, where=where)


@pytest.mark.parametrize(
    "where",
    [
        *("id=7", "name=Ann", "vip=true", "rate=0.5", "limit=1.10", "born=1986-03-01", "home.city=Oslo"),
        *("seen=2024-05-06T07:08:09+00:00", "uid=de2df598-9948-4988-b00a-a41c0e287398"),
    ],
)
def test_a_field_is_what_is_printed_of_it(where: str) -> None:
    """Copied from an earlier line it finds that line again."""
    chosen = selection(where)

    assert list(chosen.chosen([{"value": VALUE}])) == [{"value": VALUE}]
    chosen.refuse_unmet()


@pytest.mark.parametrize("where", ["nmae=Ann", "home.ctiy=Oslo", "name.first=Ann"])
def test_a_field_that_no_record_has_is_a_slip(where: str) -> None:
    """Somebody asks what is stored of a person: nothing found must mean that nothing is there."""
    chosen = selection("id=7", where)

    assert list(chosen.chosen([{"value": VALUE}])) == []
    with pytest.raises(ConfigError, match=rf"{where.partition('=')[0]}: no record .* id, name"):
        chosen.refuse_unmet()


@pytest.mark.parametrize("lines", [[], [{"error": "does not open"}], [{"value": {"id": 7, "home": None}}]])
def test_a_field_that_may_be_there_is_none(lines: list[dict[str, object]]) -> None:
    """Where nothing was read, or the record around it is null this time."""
    chosen = selection("home.city=Oslo")

    list(chosen.chosen(lines))

    chosen.refuse_unmet()


@pytest.mark.parametrize("to", ["2026-01-01T00:00:00Z", "2025-12-31"])
def test_a_time_span_that_holds_nothing_is_refused(to: str) -> None:
    """The message has both ends."""
    with pytest.raises(ConfigError, match=f"--from 2026-01-01 is not before --to {to}"):
        selection(from_="2026-01-01", to=to)
