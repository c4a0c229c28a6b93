"""Letters go back in the clear, so the cluster is looked at over the connections that take them."""

from __future__ import annotations

import pytest

from tests.components import Kafka
from tests.conftest import TopicFactory
from worker.cli.replay import to_source
from worker.errors import RegionViolation
from worker.kafka.properties import connection_properties
from worker.kafka.whole import read_batches
from worker.metrics import Metrics
from worker.model import Position, SourceRecord, records_of
from worker.sink.kafka import ClusterPin

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("own", [True, False], ids=["own", "another"])
def test_nothing_goes_back_to_another_cluster(own: bool, kafka: Kafka, topic: TopicFactory) -> None:
    """Where the address leads to another cluster by now, the replay stops before its first record."""
    name = topic()
    properties = {k: v for k, v in kafka.client.items() if k != "bootstrap.servers"}
    connection = connection_properties(kafka.bootstrap, properties)
    pin = ClusterPin(
        kafka.cluster_id if own else "elsewhere",
        pin="source_cluster",
        name="replay to the source",
        connection=connection,
        metrics=Metrics("eu-central-1"),
    )
    records = [SourceRecord(Position(name, 0, 7), b"k", b"in the clear")]

    if own:
        to_source(connection, records, pin)
    else:
        with pytest.raises(RegionViolation, match=f"'elsewhere'.*{kafka.cluster_id}"):
            to_source(connection, records, pin)

    found = [record for batch in read_batches(name, connection) for record in records_of(batch)]
    assert [record.value for record in found] == [b"in the clear"] * own
