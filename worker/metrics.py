"""
The catalogue: every Prometheus name of the worker, its kind, help, unit and labels (docs/contracts.md, 11).

A name that is not here can't be written, and one that is here is exported from the start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess, values

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_END_TO_END = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86400.0)
_PER_REQUEST = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 300.0, 400.0, 490.0, 500.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of a catalogue; `aggregate` is the gauge's mode when several processes share one endpoint."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = _LATENCY
    aggregate: Literal["livesum", "livemax", "livemin", "liveall", "livemostrecent"] = "livemax"


_ROUTE = ("route", "topic")

CATALOGUE: tuple[Metric, ...] = (
    Metric("worker_records_total", "counter", "Records finished, by what became of them.", (*_ROUTE, "outcome")),
    Metric("worker_values_total", "counter", "Values encrypted, by format.", (*_ROUTE, "format")),
    Metric("worker_plaintext_bytes_total", "counter", "Bytes of plaintext encrypted.", _ROUTE),
    Metric("worker_ciphertext_bytes_total", "counter", "Bytes of envelopes written.", _ROUTE),
    Metric(
        "worker_verify_plaintext_total",
        "counter",
        "Values decrypted again before their commit.",
        ("route", "outcome"),
    ),
    Metric("worker_batches_total", "counter", "Batches, by what became of them.", ("route", "outcome")),
    Metric("worker_stage_seconds", "histogram", "Time of one batch in one stage.", ("route", "stage")),
    Metric(
        "worker_end_to_end_seconds",
        "histogram",
        "From a record's timestamp to its commit, of the oldest record of a batch.",
        ("route",),
        _END_TO_END,
    ),
    Metric(
        "worker_lag_records",
        "gauge",
        "End of the partition (last stable offset) less the position.",
        (*_ROUTE, "partition"),
        aggregate="livemostrecent",
    ),
    Metric(
        "worker_assigned_partitions",
        "gauge",
        "Partitions assigned to this process.",
        ("route",),
        aggregate="livesum",
    ),
    Metric(
        "worker_paused_partitions",
        "gauge",
        "Partitions paused, by reason.",
        ("route", "reason"),
        aggregate="livesum",
    ),
    Metric("worker_keys_total", "counter", "Data keys, by event.", ("event",)),
    Metric(
        "worker_key_cache_requests_total",
        "counter",
        "Requests to a key cache, by result.",
        ("cache", "result"),
    ),
    Metric("worker_key_wait_seconds", "histogram", "Time encryption waited for keys.", ("cache",)),
    Metric("worker_authority_requests_total", "counter", "Requests to the authority.", ("endpoint", "outcome")),
    Metric(
        "worker_authority_request_seconds",
        "histogram",
        "Time of one request to the authority.",
        ("endpoint",),
    ),
    Metric("worker_authority_retries_total", "counter", "Requests asked again, by reason.", ("reason",)),
    Metric("worker_authority_keys_per_request", "histogram", "Keys in one request.", (), _PER_REQUEST),
    Metric(
        "worker_authority_requests_in_flight",
        "gauge",
        "Requests to the authority under way.",
        (),
        aggregate="livesum",
    ),
    Metric("worker_breaker_state", "gauge", "Circuit breaker: 0 closed, 1 half open, 2 open."),
    Metric("worker_oldest_key_age_seconds", "gauge", "Age of the oldest key held."),
    Metric(
        "worker_revocation_bound_seconds",
        "gauge",
        "How long a revoked key may still be used, by part.",
        ("part",),
    ),
    Metric(
        "worker_token_expiry_timestamp_seconds",
        "gauge",
        "When the service token expires.",
        (),
        aggregate="livemin",
    ),
    Metric(
        "worker_region_pin",
        "gauge",
        "1 where a pin matches, 0.5 where unauthenticated, 0 where broken.",
        ("pin",),
        aggregate="livemin",
    ),
    Metric(
        "worker_dead_letters_total",
        "counter",
        "Records sealed into the dead letters, by code.",
        (*_ROUTE, "code"),
    ),
    Metric(
        "worker_residency_records_total",
        "counter",
        "Records of another region, by what became of them.",
        (*_ROUTE, "outcome"),
    ),
    Metric("worker_process_restarts_total", "counter", "Processes started again after a crash.", ("process",)),
    Metric("worker_build_info", "gauge", "1, with the version in labels.", ("version", "native")),
)


class Metrics:
    """
    Writes to the catalogue's metrics with the region filled in; a label not given is empty.

    Thread-safe. Called once per batch or request, never per value.

    Args:
        region: the value of the label `region` on every series.
        registry: where the series are registered; one of its own per worker, never the process's default.
        catalogue: the entries that exist.
    """

    def __init__(
        self,
        region: str,
        registry: CollectorRegistry | None = None,
        catalogue: Sequence[Metric] = CATALOGUE,
    ) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._region = region
        self._labels = {m.name: m.labels for m in catalogue}
        self._counters = {m.name: self._counter(m) for m in catalogue if m.kind == "counter"}
        self._gauges = {m.name: self._gauge(m) for m in catalogue if m.kind == "gauge"}
        self._histograms = {m.name: self._histogram(m) for m in catalogue if m.kind == "histogram"}

    @classmethod
    def shared(cls, region: str, directory: str, index: int) -> Self:
        """
        Make the metrics of one of several processes, which `whole` exports together; before any other of the process.

        A process that follows one of the same index counts on from where that one was.

        Args:
            region: as above.
            directory: where all of them keep their files.
            index: this process's own number.
        """
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        values.ValueClass = values.MultiProcessValue(lambda: index)  # type: ignore[no-untyped-call]
        return cls(region)

    def inc(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        self._counters[name].labels(*self._values(name, labels)).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._gauges[name].labels(*self._values(name, labels)).set(value)

    def add(self, name: str, amount: float, **labels: str) -> None:
        """Move a gauge by `amount`."""
        self._gauges[name].labels(*self._values(name, labels)).inc(amount)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        self._histograms[name].labels(*self._values(name, labels)).observe(value)

    def remove(self, name: str, **labels: str) -> None:
        """
        Forget one series of a gauge, such as a partition's that was revoked.

        Shared metrics can't forget: there whoever has the partition now sets a more recent value.
        """
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            return
        self._gauges[name].remove(*self._values(name, labels))

    def _values(self, name: str, labels: dict[str, str]) -> Iterable[str]:
        allowed = self._labels[name]
        unknown = labels.keys() - set(allowed)
        if unknown:
            raise KeyError(f"{name} has no label {', '.join(sorted(unknown))}")
        return (self._region, *(labels.get(label, "") for label in allowed))

    def _counter(self, m: Metric) -> Counter:
        return Counter(m.name, m.help, ("region", *m.labels), registry=self.registry)

    def _gauge(self, m: Metric) -> Gauge:
        return Gauge(m.name, m.help, ("region", *m.labels), registry=self.registry, multiprocess_mode=m.aggregate)

    def _histogram(self, m: Metric) -> Histogram:
        return Histogram(m.name, m.help, ("region", *m.labels), registry=self.registry, buckets=m.buckets)


def whole(region: str, directory: str) -> Metrics:
    """Return the metrics of the process that starts the others; its registry exports all of theirs together."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return Metrics(region, registry, [m for m in CATALOGUE if m.name.startswith("worker_process_")])


def forget_process(directory: str, index: int) -> None:
    """Drop the gauges of a process that has ended; what it counted stays."""
    multiprocess.mark_process_dead(index, path=directory)  # type: ignore[no-untyped-call]
