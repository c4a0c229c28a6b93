"""A whole worker on a thread, and waiting for what it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from tests.deployment import Deployment
from worker.app import Worker


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, within a bound that no passing run comes near."""
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def produce(site: Deployment, seed: int, count: int) -> int:
    """Write customers with ids of their own; returns the schema id."""
    return site.write_customers(seed, count)[0]


def each_once(site: Deployment, count: int) -> None:
    """Assert that table and topic hold so many records, each once."""
    ids = [row[0] for row in site.rows()]
    keys = [key for key, _, _ in site.read(site.sink)]
    assert len(set(ids)) == len(ids) == count
    assert len(set(keys)) == len(keys) == count


def arrived(site: Deployment, count: int) -> bool:
    """Whether table and topic hold so many records."""
    return len(site.rows()) >= count and len(site.read(site.sink)) >= count


class Running:
    """Runs a worker until the block ends, then stops it gracefully; `error` is what ended it before."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._thread = threading.Thread(target=self._run)
        self.error: BaseException | None = None

    def ended(self, within_s: float = 90) -> BaseException | None:
        """Wait for the worker's own end and return its error."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "the worker goes on"
        return self.error

    def says(self, reason: str) -> bool:
        """Whether a route says that it is paused for this reason, in `/readyz` and in the metric alike."""
        told = any(f"paused, {reason} away" in text for health in self._worker.health for text in health.reasons())
        return told and self.paused(reason) > 0

    def paused(self, reason: str) -> float:
        """Return the paused partitions of all routes for this reason, as the metric has them."""
        return paused_partitions(self._worker.metrics.registry, reason)

    def is_waiting(self) -> bool:
        """Whether the worker waits, before it begins, for what is not reachable."""
        return any("not reachable" in text for health in self._worker.health for text in health.reasons())

    def is_ready(self) -> bool:
        """Whether every route is ready, as `/readyz` says."""
        return not any(health.reasons() for health in self._worker.health)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._worker.run()
        except Exception as exc:
            self.error = exc


def paused_partitions(registry: CollectorRegistry, reason: str) -> float:
    return sum(
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "worker_paused_partitions" and sample.labels["reason"] == reason
    )
