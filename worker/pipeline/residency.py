"""Which records may be written in this region."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from worker.errors import ConfigError, RecordError, ResidencyError
from worker.model import Batch, Header, Split
from worker.pipeline.options import ResidencyOptions


@dataclass(frozen=True, slots=True)
class Forward:
    """The record belongs elsewhere and goes, encrypted, to this topic."""

    topic: str


class Residency:
    """
    Decides what a field or header means; what is missing or unknown is refused.

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

    def judge_batch(
        self, batch: Batch, split: Split, refused: dict[int, RecordError]
    ) -> tuple[dict[int, str], Counter[tuple[str, str]]]:
        """
        Judge a batch of one schema's records.

        Args:
            batch: the records.
            split: the same, taken apart.
            refused: by place; what is refused here is added.

        Returns:
            The topics that records are forwarded to, by place; and how many records were `forwarded` or `refused`, by
            their topic and that word.
        """
        topics: dict[int, str] = {}
        counts: Counter[tuple[str, str]] = Counter()
        said = split.extracted(self.fields[0]) if self.fields else self.from_headers(batch)
        foreign = {text: verdict for text in set(said) if (verdict := self.judge(text)) is not None}
        if not foreign:
            return topics, counts
        for run in batch.runs:
            for i in range(run.start, run.stop):
                verdict = foreign.get(said[i])
                if verdict is None or i in refused:
                    continue
                if isinstance(verdict, Forward):
                    topics[i] = verdict.topic
                else:
                    refused[i] = ResidencyError(verdict)
                counts[run.topic, "forwarded" if isinstance(verdict, Forward) else "refused"] += 1
        return topics, counts

    def judge(self, said: str | None) -> Forward | str | None:
        """
        Return None for this region, where to forward a record, or why it is refused.

        Args:
            said: what the record's field or header says; None where it says nothing.
        """
        region = self._options.values.get(said, "") if self._options.values and said is not None else said
        if region == self._region:
            return None
        if region and self._options.foreign == "forward" and region in self._options.topics:
            return Forward(self._options.topics[region])
        place = f"header {self._options.header!r}" if self._options.header else f"field {self._options.field!r}"
        kind = "of another region" if region else "of no known region"
        return f"by its {place} the record is {kind}; this worker writes {self._region} only"

    def from_headers(self, batch: Batch) -> list[str | None]:
        """Return what each record's header says; one that is missing, null or there twice says nothing."""
        if batch.headers is None:
            return [None] * len(batch)
        return [self._header(headers) for headers in batch.headers]

    def _header(self, headers: Sequence[Header]) -> str | None:
        found = [value for name, value in headers if name == self._options.header]
        if len(found) != 1 or found[0] is None:
            return None
        return found[0].decode("utf-8", "replace")
