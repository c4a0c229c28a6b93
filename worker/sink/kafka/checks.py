"""What a Kafka sink's topics must be, what may be created, and what is worth a warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from worker.errors import ConfigError
from worker.kafka.topics import BROKERS_TIME, TopicFacts, Topics
from worker.sink.kafka.options import KafkaSinkOptions
from worker.sink.kafka.topics import ensure_dead_topics, like_source, missing_topic

_log = structlog.get_logger(__name__)


def create_missing(
    topics: Topics,
    facts: dict[str, TopicFacts],
    options: KafkaSinkOptions,
    source_topics: Sequence[str],
    ledger_topic: str,
) -> dict[str, TopicFacts]:
    """Return the facts after creating the ledger's topic and, with `create`, the sink's and the dead ones."""
    sources = [facts[name] for name in source_topics if name in facts]
    added = False
    if options.ledger and ledger_topic not in facts:
        topics.create(ledger_topic, 1, {"cleanup.policy": "delete", "retention.ms": "-1", **BROKERS_TIME})
        added = True
    if options.create and options.topic not in facts:
        largest = max(sources, key=lambda s: s.max_message_bytes, default=None)
        partitions = max((s.partitions for s in sources), default=1)
        topics.create(options.topic, partitions, like_source(largest) if largest else {})
        added = True
    dead = ensure_dead_topics(topics, source_topics, create=options.create)
    if added:
        _, facts = topics.describe([*facts, options.topic, ledger_topic])
    return {**facts, **dead}


def check_shape(facts: Mapping[str, TopicFacts], options: KafkaSinkOptions, source_topics: Sequence[str]) -> None:
    """Raise `ConfigError` where the sink's topic is missing, has other partitions, is smaller, or is a source."""
    if options.topic in source_topics:
        raise ConfigError(f"topic {options.topic} is the route's source and its sink")
    sink = facts.get(options.topic)
    if sink is None:
        raise missing_topic(options.topic)
    for source in (facts[name] for name in source_topics if name in facts):
        if options.partitioning == "same" and source.partitions != sink.partitions:
            raise ConfigError(
                f"partitioning = same needs equal counts: {source.name} has {source.partitions} partitions, "
                f"{sink.name} {sink.partitions}; make them equal or set partitioning = key"
            )
        if sink.max_message_bytes < source.max_message_bytes:
            raise ConfigError(
                f"topic {sink.name} takes {sink.max_message_bytes} bytes, its source {source.name} "
                f"{source.max_message_bytes}, and encrypted records are larger; raise its max.message.bytes"
            )


def warn(facts: Mapping[str, TopicFacts], options: KafkaSinkOptions, source_topics: Sequence[str]) -> tuple[str, ...]:
    """Log and return what `check` tells an operator: rewritten timestamps, early deletion, little room."""
    sink = facts.get(options.topic)
    if sink is None:
        return ()
    found: list[str] = []
    if not sink.keeps_timestamps:
        found.append(f"topic {sink.name} has LogAppendTime: the broker replaces the records' timestamps")
    for source in (facts[name] for name in source_topics if name in facts):
        if sink.keeps_timestamps and sink.retention_ms >= 0:
            kept = source.retention_ms
            if kept < 0 or kept > sink.retention_ms:
                found.append(
                    f"topic {sink.name} keeps records {sink.retention_ms} ms after their copied timestamp, "
                    f"{source.name} {'for ever' if kept < 0 else f'{kept} ms'}: older records vanish on arrival"
                )
        if sink.max_message_bytes == source.max_message_bytes:
            found.append(
                f"topic {sink.name} takes no larger records than {source.name}: a record near the limit outgrows it "
                "by about 130 bytes a value and becomes a dead letter"
            )
    for text in found:
        _log.warning("sink_topic_warning", topic=sink.name, warning=text)
    return tuple(found)
