"""Whether a route's records are there, and whether it can go on where it stands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import stamina

from worker.checks.findings import attempt, timed
from worker.errors import ConfigError, SourceUnavailable
from worker.finding import Finding
from worker.model import TopicPartition
from worker.sink.kafka import KafkaSink
from worker.source.kafka import KafkaSource

if TYPE_CHECKING:
    from worker.sink.postgres import PostgresSink

_WAIT_S, _AGAIN_S = 15.0, 1.0


def check_topics(source: KafkaSource, route: str, bootstrap: str) -> list[Finding]:
    """Verify that the topics to be read exist: a worker would wait for a misspelt one for ever."""
    findings: list[Finding] = []
    missing = attempt(findings, f"{route}: source", source.missing_topics)
    for topic, near in (missing or {}).items():
        meant = f" Did you mean {near}?" if near else ""
        said = (
            f"topic {topic} does not exist at {bootstrap}, or this identity lacks Read on topic {topic}.{meant} "
            "Correct the route's source.topics, create the topic, or grant the right"
        )
        findings.append(Finding.of(f"{route}: source", ConfigError(said)))
    if missing == {}:
        count = len(source.partitions())
        findings.append(Finding(f"{route}: source", "ok", found=f"{count} partition{'s' if count > 1 else ''}"))
    return findings


def _patiently(look: Callable[[], None]) -> None:
    """Ask again for a while: brokers that no group has asked before have no coordinator at first."""
    for again in stamina.retry_context(on=SourceUnavailable, attempts=None, timeout=_WAIT_S, wait_max=_AGAIN_S):
        with again:
            look()


def check_positions(source: KafkaSource, sink: KafkaSink | PostgresSink, route: str) -> list[Finding]:
    """Verify that stored positions are of these topics and still in the log, and that the group may be asked."""
    name, partitions = f"{route}: positions", source.partitions()
    stored: dict[TopicPartition, int] = {}

    def look() -> None:
        of_group = source.offsets.stored(partitions)
        beside_rows = sink.stored(partitions)
        stored.update(of_group if beside_rows is None else beside_rows)
        source.offsets.refuse_lost(stored)

    state = timed(name, partial(_patiently, look))
    if state.is_broken:
        return [state]
    new = len(partitions) - len(stored)
    said = f"{len(stored)} stored" + (f", {new} begin at the route's start" if new else "")
    return [Finding(name, "ok", found=said)]
