"""
A dead member taken out of its consumer group by who saw it die; its partitions need not wait for its session.

librdkafka lets a client leave for itself only. Kafka's protocol lets anybody who may read in the group remove a member,
and kafka-python speaks it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from worker.errors import SourceUnavailable
from worker.kafka.kafka_python import admin_client
from worker.kafka.properties import Property


class Departures:
    """
    Finds the members of one client and removes them.

    Args:
        connection: what `worker.kafka.properties.connection_properties` returned.

    Raises:
        SourceUnavailable: kafka-python has no equal for a property, or no broker answers.
    """

    def __init__(self, connection: Mapping[str, Property]) -> None:
        self._client = admin_client(connection)

    def members(self, groups: Collection[str], client_id: str) -> dict[str, list[str]]:
        """Return the ids of a client's dynamic members by group."""
        try:
            described = self._client.describe_groups(sorted(groups))
        except Exception as exc:
            raise SourceUnavailable(f"the groups are not described: {type(exc).__name__}") from None
        return {
            group: [
                str(member["member_id"])
                for member in facts["members"]
                if member["client_id"] == client_id and not member.get("group_instance_id")
            ]
            for group, facts in described.items()
        }

    def remove(self, members: Mapping[str, Collection[str]]) -> int:
        """Remove members by group; returns how many there were."""
        from kafka.admin import MemberToRemove

        removed = 0
        for group, ids in members.items():
            if ids:
                asked = [MemberToRemove(member_id=i, reason="its process has died") for i in ids]
                try:
                    answers = self._client.remove_group_members(group, asked)
                except Exception as exc:
                    raise SourceUnavailable(f"group {group} keeps its member: {type(exc).__name__}") from None
                removed += sum(getattr(error, "errno", -1) == 0 for error in answers.values())
        return removed

    def close(self) -> None:
        """Release the connections."""
        self._client.close()
