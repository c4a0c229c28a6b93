"""Which records may be written in this region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.errors import ConfigError, ResidencyError
from worker.model import SourceRecord
from worker.pipeline.options import ResidencyOptions


@dataclass(frozen=True, slots=True)
class Forward:
    """The record belongs elsewhere and goes, encrypted, to this topic."""

    topic: str


class Residency:
    """
    Decides per record; what is missing or unknown is refused.

    Args:
        options: where the region stands, and what becomes of another one's.
        region: this worker's.

    Raises:
        ConfigError: `values` names this region nowhere, so every record would be refused.
    """

    def __init__(self, options: ResidencyOptions, region: str) -> None:
        self._options = options
        self._region = region
        if options.values and region not in options.values.values():
            raise ConfigError(f"residency.values names {region!r} nowhere: every record would be refused")

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields to extract."""
        return (self._options.field,) if self._options.field is not None else ()

    def judge(self, record: SourceRecord, text: str | None) -> Forward | ResidencyError | None:
        """
        Return None for a record of this region, where to forward it, or why it is refused.

        Args:
            record: for its headers.
            text: the field's value where a field says it.
        """
        said = self._header(record.headers) if self._options.header is not None else text
        region = self._options.values.get(said, "") if self._options.values and said is not None else said
        if region == self._region:
            return None
        if region and self._options.foreign == "forward" and region in self._options.topics:
            return Forward(self._options.topics[region])
        place = f"header {self._options.header!r}" if self._options.header else f"field {self._options.field!r}"
        kind = "of another region" if region else "of no known region"
        return ResidencyError(f"by its {place} the record is {kind}; this worker writes {self._region} only")

    def _header(self, headers: Sequence[tuple[str, bytes | None]]) -> str | None:
        found = [value for name, value in headers if name == self._options.header]
        if len(found) != 1 or found[0] is None:
            return None
        return found[0].decode("utf-8", "replace")
