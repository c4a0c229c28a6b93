"""`process_*` of every process behind one endpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric as Family
from prometheus_client import ProcessCollector
from prometheus_client.registry import Collector


class ProcessMetrics(Collector):
    """
    Memory, processor time and open files as the system counts them, with the labels `region` and `process`.

    The processor time of a process that was started again goes on from where its predecessor was last seen, so that
    the sum over a worker's processes never goes back.

    Args:
        region: the value of the label `region`.
        pids: the processes now, by their name; called at every scrape.
    """

    def __init__(self, region: str, pids: Callable[[], Mapping[str, int]]) -> None:
        self._region, self._pids = region, pids
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, float]] = {}
        self._before: dict[str, float] = {}

    def collect(self) -> Iterable[Family]:
        """Return one family a metric, with one sample a process."""
        families: dict[str, Family] = {}
        for name, pid in self._pids().items():
            for found in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                family = families.setdefault(found.name, Family(found.name, found.documentation, found.type))
                labels = {"region": self._region, "process": name}
                for sample in found.samples:
                    value = sample.value
                    if sample.name == "process_cpu_seconds_total":
                        value = self._continued(name, pid, value)
                    family.add_sample(sample.name, labels, value)
        return families.values()

    def _continued(self, name: str, pid: int, seconds: float) -> float:
        with self._lock:
            seen = self._seen.get(name)
            if seen is not None and seen[0] != pid:
                self._before[name] = self._before.get(name, 0.0) + seen[1]
            self._seen[name] = (pid, seconds)
            return self._before.get(name, 0.0) + seconds
