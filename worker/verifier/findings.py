"""What was seen in the sinks: counts, and where plaintext lies; never a value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from worker.metrics import Metrics
from worker.verifier.envelope import is_envelope

Outcome = Literal["envelope", "null", "plaintext", "unreadable"]
_SHOWN = 20


def judged(value: object) -> Outcome:
    """Return what a declared field's value is."""
    return "null" if value is None else "envelope" if is_envelope(value) else "plaintext"


@dataclass(slots=True)
class Seen:
    """
    One look into one route's sink.

    Args:
        route: the route's name.
        outcomes: values of declared fields, by what they were; a record that can't be read counts once.
        places: where plaintext was found, the first few, as `topic[partition]@offset field` or `table.column`.
        unreadable: where records are that no registry schema reads, likewise: what they hold nobody vouches for.
    """

    route: str
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether all that was looked at was read, and none of it in the clear."""
        return not self.places and not self.unreadable

    def add(self, outcome: Outcome, place: str, count: int = 1) -> None:
        """Count values."""
        self.outcomes[outcome] += count
        told = {"plaintext": self.places, "unreadable": self.unreadable}.get(outcome)
        if told is not None and count and len(told) < _SHOWN:
            told.append(place)

    def export(self, metrics: Metrics, now: float) -> None:
        """Write the look to the metrics; `now` is in seconds since 1970."""
        for outcome, count in self.outcomes.items():
            metrics.inc("worker_verify_values_total", count, route=self.route, outcome=outcome)
        metrics.inc("worker_verify_plaintext_total", self.outcomes["plaintext"], route=self.route)
        metrics.set("worker_verify_run_timestamp_seconds", now, route=self.route)
