"""What a metric of a catalogue is, and the words that its labels take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One entry of a catalogue.

    Args:
        name, kind, help, labels: as Prometheus has them; `region` stands on every series besides.
        buckets: of a histogram.
        aggregate: the gauge's mode when several processes share one endpoint.
        from_start: exported at 0 before its first event; False for a gauge whose 0 would say something untrue.
        words: the values of labels with fixed words, where they are not those of `WORDS`.
        of_parent: written by the process that starts the others, where there are several.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = LATENCY
    aggregate: Literal["livesum", "livemax", "livemin", "liveall", "livemostrecent"] = "livemax"
    from_start: bool = True
    of_parent: bool = False
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def known(self, routes: Mapping[str, tuple[str, ...]]) -> list[dict[str, str]]:
        """
        Return every combination of label values that is known beforehand, none where one is not.

        Args:
            routes: the configuration's routes with their topics.
        """
        fixed = [label for label in self.labels if label not in ("route", "topic")]
        if not self.from_start or any(not self._words(label) for label in fixed):
            return []
        words = [dict(zip(fixed, values, strict=True)) for values in product(*(self._words(w) for w in fixed))]
        if "topic" in self.labels:
            own = [{"route": route, "topic": topic} for route, topics in routes.items() for topic in topics]
        elif "route" in self.labels:
            own = [{"route": route} for route in routes]
        else:
            own = [{}]
        return [{**place, **word} for place in own for word in words]

    def _words(self, label: str) -> tuple[str, ...]:
        return self.words.get(label) or OWN_WORDS.get((self.name, label)) or WORDS.get(label, ())


WORDS: Mapping[str, tuple[str, ...]] = {
    "format": ("record", "leased"),
    "stage": ("poll", "decode", "encrypt", "sink", "commit"),
    "reason": ("authority", "registry", "sink", "source", "dependency", "start", "placing", "backpressure", "operator"),
    "event": ("generated", "retrieved", "used", "expired", "wasted"),
    "cache": ("pool", "lease", "decrypt"),
    "result": ("hit", "miss", "negative"),
    "endpoint": ("generate-data-key", "retrieve-data-key-fallible", "load-keyset", "authorise"),
    "change": ("assigned", "revoked", "lost"),
    "client": ("source", "sink"),
    "direction": ("sent", "received"),
    "percentile": ("p50", "p99"),
    "fault": ("timeout", "retry", "disconnect"),
    "code": (
        "decode_failed",
        "bad_magic",
        "unknown_schema",
        "trailing_bytes",
        "too_large",
        "union_mismatch",
        "context_null",
        "not_an_envelope",
        "residency",
        "sink_rejected",
        "key_refused",
        "subject_erased",
    ),
}
"""The fixed lists."""
_ANSWERS = ("200", "400", "401", "403", "404", "409", "422", "429", "500", "502", "503", "504", "unreachable")
OWN_WORDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("worker_records_total", "outcome"): ("encrypted", "passed", "tombstone", "forwarded", "dead", "erased"),
    ("worker_output_checks_total", "outcome"): ("ok", "failed"),
    ("worker_verify_values_total", "outcome"): ("envelope", "null", "plaintext", "unreadable"),
    ("worker_twin_records_total", "stage"): ("decode", "output"),
    ("worker_batches_total", "outcome"): ("committed", "aborted", "uncertain", "failed"),
    ("worker_authority_requests_total", "outcome"): _ANSWERS,
    ("worker_authority_retries_total", "reason"): ("throttled", "unavailable"),
    ("worker_residency_records_total", "outcome"): ("forwarded", "refused"),
    ("worker_transactions_total", "outcome"): ("committed", "aborted", "unknown", "fenced"),
}
"""The words of a label where a metric has its own."""
