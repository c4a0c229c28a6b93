"""Who the cluster is that a consumer's own connections lead to."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException

from worker.errors import SourceUnavailable
from worker.kafka.refusals import Needs
from worker.kafka.verdict import read_error
from worker.model import TopicPartition
from worker.source.identity import TopicIdentities
from worker.source.offsets import Offsets

if TYPE_CHECKING:
    from worker import _native

# Half of the time after which the loop would have to poll; the group is served by the client's own threads.
_CONFIRM_S = 5.0
_AHEAD_S = 0.3


class Confirmation:
    """
    Asks for the cluster's id over the connections that records come by, since another client's may still lead to the
    cluster of before; not again while the client has made none since, where it can tell.

    Args:
        consumer: the client.
        native: the same for the extension, which can tell; None where it can't be had.
        identities: what the cluster must be.
        topic: one that the client reads.
        needs: the rights that reading takes.
    """

    def __init__(
        self,
        consumer: Consumer,
        native: _native.Client | None,
        identities: TopicIdentities,
        topic: str,
        needs: Needs | None = None,
    ) -> None:
        self._consumer, self._native, self._identities = consumer, native, identities
        self._topic, self._needs = topic, needs
        self._confirmed: int | None = None

    def confirm(self, timeout_s: float = _CONFIRM_S) -> None:
        """Raise `RegionViolation` for another cluster, and `SourceUnavailable` where none answers in time."""
        connections = self._native.connections() if self._native is not None else None
        if connections is not None and connections == self._confirmed:
            return
        try:
            found = self._consumer.list_topics(self._topic, timeout=timeout_s).cluster_id
        except KafkaException as exc:
            raise read_error(exc.args[0], "asking for the cluster's identity", needs=self._needs) from exc
        self._identities.compare_cluster(str(found))
        self._confirmed = connections

    def ahead(self, partitions: Collection[TopicPartition], offsets: Offsets) -> None:
        """
        Let the client connect to the leaders of partitions that are about to be fetched, and confirm the cluster: a
        question that follows a fetch waits for it. What is not answered now is asked before a batch is delivered.
        """
        if self._native is None or self._native.connections() == self._confirmed:
            return
        offsets.reach(partitions, _AHEAD_S)
        with contextlib.suppress(SourceUnavailable):
            self.confirm(_AHEAD_S)
