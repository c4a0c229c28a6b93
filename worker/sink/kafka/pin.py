"""The pin of a cluster that is written to."""

from __future__ import annotations

from collections.abc import Mapping

from worker.errors import RegionViolation
from worker.kafka.properties import Property, is_authenticated
from worker.metrics import Metrics
from worker.sink.kafka.producer import BatchProducer

_CONFIRM_S = 10.0


class ClusterPin:
    """
    Compares a cluster's id with the configured one, and tells `worker_region_pin`.

    Args:
        cluster_id: the configured id; None accepts any.
        pin: its name in the metric, as `sink_cluster`.
        name: what messages call the writer, as `route customers`.
        connection: the clients' properties, which say whether the id counts as authenticated.
        metrics: where the pin is told.
    """

    def __init__(
        self, cluster_id: str | None, *, pin: str, name: str, connection: Mapping[str, Property], metrics: Metrics
    ) -> None:
        self._cluster_id, self._pin, self._name, self._metrics = cluster_id, pin, name, metrics
        self._good = 1.0 if is_authenticated(connection) else 0.5

    def compare(self, found: str) -> None:
        """Raise `RegionViolation` for another cluster."""
        if self._cluster_id is None:
            return
        matches = found == self._cluster_id
        self._metrics.set("worker_region_pin", self._good if matches else 0.0, pin=self._pin)
        if not matches:
            raise RegionViolation(
                f"{self._name}: expected Kafka cluster {self._cluster_id!r} to write to, found {found!r}"
            )

    def confirm(self, producer: BatchProducer, topic: str) -> None:
        """Ask over a producer's own connections, since another client's may still lead to the cluster of before."""
        if self._cluster_id is not None:
            self.compare(producer.cluster_id(topic, _CONFIRM_S))
