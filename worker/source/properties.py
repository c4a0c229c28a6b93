"""librdkafka's properties of a consumer, and those that are not the operator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.errors import ConfigError
from worker.kafka.properties import Property
from worker.kafka.statistics import INTERVAL_MS
from worker.source.options import SourceOptions

OWNED = frozenset(
    {
        "bootstrap.servers",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "partition.assignment.strategy",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "isolation.level",
        "max.poll.interval.ms",
        "session.timeout.ms",
        "enable.partition.eof",
        "transactional.id",
        "enable.idempotence",
    }
)
"""What the worker's promises rest on; set by its own options only."""

_STRATEGY = {"cooperative": "cooperative-sticky", "eager": "range"}


def consumer_properties(
    options: SourceOptions,
    bootstrap: str,
    group: str,
    instance: str,
    properties: Mapping[str, Property],
    *,
    bounded: bool,
) -> dict[str, Any]:
    """
    Build a consumer's properties.

    Raises:
        ConfigError: `properties` names one that the worker owns.
    """
    refused = sorted(OWNED & properties.keys())
    if refused:
        raise ConfigError(f"[kafka] properties: {', '.join(refused)}: set by the worker itself; use its settings")
    reset = "error" if options.on_offset_loss == "stop" else options.on_offset_loss
    conf: dict[str, Any] = {
        "client.id": f"worker-{instance}",
        # At librdkafka's default of 1000 ms a consumer that outruns its queue idles most of the time.
        "fetch.queue.backoff.ms": 10,
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": max(1024, options.queue_bytes // 1024),
        "queued.min.messages": 100_000,
        "max.partition.fetch.bytes": options.fetch_bytes,
        "fetch.max.bytes": max(options.fetch_bytes, min(options.queue_bytes, 52_428_800)),
        "reconnect.backoff.max.ms": 2_000,
        "statistics.interval.ms": INTERVAL_MS,
        **properties,
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": reset,
        "isolation.level": "read_committed",
        "max.poll.interval.ms": int(options.max_poll_interval_s * 1000),
        "enable.partition.eof": bounded,
    }
    if options.static_membership:
        conf["group.instance.id"] = instance
    if options.protocol == "consumer":
        return conf | {"group.protocol": "consumer"}
    return conf | {
        "partition.assignment.strategy": _STRATEGY[options.protocol],
        "session.timeout.ms": int(options.session_timeout_s * 1000),
    }
