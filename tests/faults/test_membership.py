"""A static member that is killed while its group takes partitions from it leaves none of them without an owner."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.components import Kafka
from tests.faults.fleet import KILLED, Fleet
from tests.faults.records import PARTITIONS
from tests.faults.stand import Stand, Topology, prepare

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(150)]


def owned(admin: AdminClient, group: str) -> dict[str, int]:
    """Return how many partitions each member has, nothing while the group is moving."""
    try:
        found = admin.describe_consumer_groups([group])[group].result(10)
    except KafkaException:
        return {}
    if found.state.name != "STABLE":
        return {}
    return {member.client_id: len(member.assignment.topic_partitions) for member in found.members}


def until_owned(admin: AdminClient, group: str, members: int) -> dict[str, int]:
    """Wait until so many members share the group."""
    end = time.monotonic() + 60
    while True:
        now = owned(admin, group)
        if len(now) == members and sum(now.values()) == PARTITIONS:
            return now
        assert time.monotonic() < end, now
        time.sleep(0.1)


def test_a_static_member_killed_in_a_revocation_orphans_nothing(
    kafka: Kafka, authority: dict[str, str], tmp_path: Path
) -> None:
    """Killed in its revocation and started again at once, it shares all partitions with the member that came."""
    stand = Stand(kafka, "", authority, tmp_path)
    place = prepare(stand, Topology("static", "kafka", assignment="eager", static=True), "static")
    fleet = Fleet(stand, place, seed=1)
    admin = AdminClient({**kafka.client, "log_level": 2})
    try:
        fleet.add("w0", "on_revoke", hit=1)
        until_owned(admin, place.group, 1)
        fleet.add("w1", "")

        assert fleet.members["w0"].program.wait(60) == KILLED
        fleet.add("w0", "")

        assert until_owned(admin, place.group, 2) == {"worker-w0": 3, "worker-w1": 3}
    finally:
        fleet.close()
