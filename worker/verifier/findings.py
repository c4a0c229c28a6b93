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
    """

    route: str
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, place: str, count: int = 1) -> None:
        """Count values."""
        self.outcomes[outcome] += count
        if outcome == "plaintext" and count and len(self.places) < _SHOWN:
            self.places.append(place)

    def export(self, metrics: Metrics, now: float) -> None:
        """Write the look to the metrics; `now` is in seconds since 1970."""
        for outcome, count in self.outcomes.items():
            metrics.inc("worker_verify_values_total", count, route=self.route, outcome=outcome)
        metrics.inc("worker_verify_plaintext_total", self.outcomes["plaintext"], route=self.route)
        metrics.set("worker_verify_run_timestamp_seconds", now, route=self.route)
