"""A member that its client has left in the group: taken out, so that nobody waits for its session."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import structlog
from confluent_kafka import KafkaException

from worker.errors import SourceUnavailable, WorkerError
from worker.kafka.administration import administration
from worker.kafka.departure import Departures
from worker.kafka.properties import Property

_log = structlog.get_logger(__name__)
_REQUEST_S = 2.0


def end_membership(connection: Mapping[str, Property], group: str, member: str) -> None:
    """
    Take a member of a classic group out of it where its client's end has not.

    A group that can't be asked is left alone.

    librdkafka (2.16) that closes while its group rebalances ends without leaving: all the others then wait for the
    session of somebody who has gone.

    Args:
        connection: what `worker.kafka.properties.connection_properties` returned.
        group: its name.
        member: the id that the group had given to the client.
    """
    try:
        if _has(connection, group, member):
            with contextlib.closing(Departures(connection)) as departures:
                departures.remove({group: [member]})
            _log.info("member_removed", group=group, members=1)
    except WorkerError as exc:
        _log.warning("member_waited_for", group=group, error=str(exc))


def _has(connection: Mapping[str, Property], group: str, member: str) -> bool:
    admin = administration(connection, unavailable=SourceUnavailable).client
    asked = admin.describe_consumer_groups([group], request_timeout=_REQUEST_S)[group]
    try:
        # Beyond the request's own time, since an answer that finds no client any more ends the process.
        found = asked.result(2 * _REQUEST_S)
    except (KafkaException, TimeoutError):
        return False
    return any(each.member_id == member for each in found.members)
