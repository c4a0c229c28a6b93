"""librdkafka's properties of a consumer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from worker.kafka.native import is_adoptable
from worker.kafka.properties import Property, client_properties
from worker.kafka.statistics import INTERVAL_MS
from worker.source.options import SourceOptions

_STRATEGY = {"cooperative": "cooperative-sticky", "eager": "range"}


class GroupMember(NamedTuple):
    """A consumer group, and the member's stable name, for static membership and the client's id."""

    group: str
    instance: str


def client_id(instance: str) -> str:
    """Return a member's client id, by which its group names it to others."""
    return f"worker-{instance}"


def consumer_properties(
    options: SourceOptions, member: GroupMember, connection: Mapping[str, Property], *, bounded: bool
) -> dict[str, Property]:
    """
    Build a consumer's properties.

    Raises:
        ConfigError: `connection` names one that the worker owns.
    """
    reset = "error" if options.on_offset_loss == "stop" else options.on_offset_loss
    defaults: dict[str, Property] = {
        "client.id": client_id(member.instance),
        # At librdkafka's default of 1000 ms a consumer that outruns its queue idles most of the time.
        "fetch.queue.backoff.ms": 10,
        # A question over the same connection waits for the fetch under way, within what the loop grants it
        # (`worker.source.offsets`). A client that can't tell its connections asks who the cluster is before each batch.
        "fetch.wait.max.ms": 500 if is_adoptable(connection) else 100,
        "queued.max.messages.kbytes": max(1024, options.queue_bytes // 1024),
        "queued.min.messages": 100_000,
        "max.partition.fetch.bytes": options.fetch_bytes,
        "fetch.max.bytes": max(options.fetch_bytes, min(options.queue_bytes, 52_428_800)),
        "statistics.interval.ms": INTERVAL_MS,
        # Of a classic group's member only this question makes it join anew where a topic has gained partitions: what
        # librdkafka learns beside it (a broker lost, a leader moved) it keeps to itself, for 5 minutes by default.
        "topic.metadata.refresh.interval.ms": 10_000,
        # Else three times the above: an outage that long would make topics unknown.
        "metadata.max.age.ms": 900_000,
    }
    owned: dict[str, Property] = {
        "group.id": member.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": reset,
        "isolation.level": "read_committed",
        "max.poll.interval.ms": int(options.max_poll_interval_s * 1000),
        "enable.partition.eof": bounded,
    }
    if options.static_membership:
        owned["group.instance.id"] = member.instance
    if options.protocol == "consumer":
        owned["group.protocol"] = "consumer"
    else:
        owned["partition.assignment.strategy"] = _STRATEGY[options.protocol]
        # A member hears with its next heartbeat that the group moves; librdkafka's 3 s are 3 s without a partition.
        defaults["heartbeat.interval.ms"] = 1_000
        owned["session.timeout.ms"] = int(options.session_timeout_s * 1000)
    return client_properties(connection, defaults=defaults, owned=owned)
