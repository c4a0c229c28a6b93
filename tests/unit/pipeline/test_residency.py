"""Which records may be written here."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from worker.errors import ConfigError
from worker.model import Header, Position, SourceRecord, batch_of
from worker.pipeline.options import ResidencyOptions
from worker.pipeline.residency import Forward, Residency

HERE, THERE = "eu-central-1", "ap-southeast-2"
VALUES = {"DE": HERE, "AU": THERE}


def record(*headers: Header) -> SourceRecord:
    return SourceRecord(Position("in", 0, 0), None, b"", headers)


def test_passes_a_record_of_this_region() -> None:
    """A value that maps to this region passes."""
    assert Residency(ResidencyOptions(field="country", values=VALUES), HERE).judge("DE") is None


@pytest.mark.parametrize("text", ["AU", "FR", None, ""])
def test_refuses_another_or_no_region(text: str | None) -> None:
    """Another region's value, an unknown one and a missing one are all refused."""
    verdict = Residency(ResidencyOptions(field="country", values=VALUES), HERE).judge(text)

    assert isinstance(verdict, str)


def test_forwards_to_the_regions_topic() -> None:
    """With `forward` another region's record goes to that region's topic, an unknown one is still refused."""
    options = ResidencyOptions(field="country", values=VALUES, foreign="forward", topics={THERE: "ap"})
    residency = Residency(options, HERE)

    assert residency.judge("AU") == Forward("ap")
    assert isinstance(residency.judge("FR"), str)


@pytest.mark.parametrize("headers", [[], [("region", None)], [("region", b"x"), ("region", HERE.encode())]])
def test_refuses_a_header_that_is_not_there_once(headers: list[Header]) -> None:
    """A header that is missing, empty or there twice says nothing."""
    residency = Residency(ResidencyOptions(header="region"), HERE)

    (said,) = residency.from_headers(batch_of([record(*headers)]))

    assert isinstance(residency.judge(said), str)


def test_reads_a_header() -> None:
    """Without values a header holds the region's name."""
    residency = Residency(ResidencyOptions(header="region"), HERE)

    assert residency.from_headers(batch_of([record(("region", HERE.encode())), record()])) == [HERE, None]
    assert residency.judge(HERE) is None


def test_refuses_values_without_this_region() -> None:
    """A mapping that never names this region would refuse every record."""
    with pytest.raises(ConfigError):
        Residency(ResidencyOptions(field="country", values={"AU": THERE}), HERE)


def test_refuses_both_a_field_and_a_header() -> None:
    """One place says it, not two."""
    with pytest.raises(ValidationError):
        ResidencyOptions(field="country", header="region")
