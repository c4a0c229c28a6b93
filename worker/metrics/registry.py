"""The one writer to the catalogue's metrics."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    multiprocess,
    values,
)

from worker.metrics.catalogue import CATALOGUE
from worker.metrics.metric import Metric
from worker.metrics.traces import OFF, Traces

# A second series beside each counter, of which no rule or panel makes use.
disable_created_metrics()  # type: ignore[no-untyped-call]

Tally = Callable[[Sequence[float]], tuple[Sequence[int], float]]
"""The buckets' upper bounds, ascending -> how many observations lie in each, and their sum."""


class Metrics:
    """
    Writes to the catalogue's metrics with the region filled in; a label not given is empty.

    Thread-safe. Called once per batch or request, never per value. `traces` is where its spans go: nowhere until set.

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
        self.traces: Traces = OFF
        self._region = region
        self._catalogue = tuple(catalogue)
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
        return cls(region, catalogue=[m for m in CATALOGUE if not m.of_parent])

    def expect(self, routes: Mapping[str, Sequence[str]]) -> None:
        """
        Export every series whose labels are known beforehand, at 0.

        Args:
            routes: the configuration's routes with their topics.
        """
        places = {route: tuple(topics) for route, topics in routes.items()}
        kinds: dict[str, Mapping[str, Counter | Gauge | Histogram]] = {
            "counter": self._counters,
            "gauge": self._gauges,
            "histogram": self._histograms,
        }
        for metric in self._catalogue:
            for labels in metric.known(places):
                kinds[metric.kind][metric.name].labels(*self._values(metric.name, labels))

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

    def stage(self, stage: str, seconds: float, *, route: str) -> None:
        """Note how long this thread's batch was in a stage that has just ended."""
        self.observe("worker_stage_seconds", seconds, route=route, stage=stage)
        self.traces.stage(stage, seconds)

    def observe_tally(self, name: str, tally: Tally, **labels: str) -> None:
        """Add many observations to a histogram at once, counted by whoever has them."""
        self._histograms[name].labels(*self._values(name, labels)).observe_tally(tally)

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

    def _histogram(self, m: Metric) -> BatchHistogram:
        return BatchHistogram(m.name, m.help, ("region", *m.labels), registry=self.registry, buckets=m.buckets)


class BatchHistogram(Histogram):
    """A histogram that takes a batch's observations at once: one increment a bucket instead of one a value."""

    def observe_tally(self, tally: Tally) -> None:
        """Add what `tally` counts in each of this histogram's buckets."""
        self._raise_if_not_observable()  # type: ignore[no-untyped-call]
        counts, total = tally(self._upper_bounds)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


def whole(region: str, directory: str) -> Metrics:
    """Return the metrics of the process that starts the others; its registry exports all of theirs together."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return Metrics(region, registry, [m for m in CATALOGUE if m.of_parent])


def forget_process(directory: str, index: int) -> None:
    """Drop the gauges of a process that has ended; what it counted stays."""
    multiprocess.mark_process_dead(index, path=directory)  # type: ignore[no-untyped-call]
