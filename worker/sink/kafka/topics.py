"""What a sink needs of its topics and of the dead ones."""

from __future__ import annotations

from collections.abc import Sequence

from worker.errors import ConfigError
from worker.kafka.topics import BROKERS_TIME, TopicFacts, Topics
from worker.topic_names import dead_topic

DEAD_OVERHEAD_BYTES = 4096
"""What sealing may add to a record: envelope, coordinates and error headers."""

_COPIED = ("cleanup.policy", "retention.ms", "retention.bytes")


def missing_topic(name: str) -> ConfigError:
    """Return the refusal of a topic that the brokers do not list; they hide what an identity may not describe."""
    return ConfigError(
        f"topic {name} does not exist, or this identity lacks Write on topic {name}; create it, set the sink's "
        "create = true, or grant the right"
    )


def like_source(source: TopicFacts) -> dict[str, str]:
    """Return settings of a sink topic that keeps what its source keeps, with room for many envelopes, or base64."""
    copied = {name: source.config[name] for name in _COPIED if name in source.config}
    room = 2 * source.max_message_bytes + DEAD_OVERHEAD_BYTES
    return {**copied, "max.message.bytes": str(room), "message.timestamp.type": "CreateTime"}


def ensure_dead_topics(topics: Topics, source_topics: Sequence[str], *, create: bool) -> dict[str, TopicFacts]:
    """
    Check that each source topic has a dead topic that takes its largest record sealed.

    Raises:
        ConfigError: one is missing and `create` is off, or it is too small; the message says what to set.
    """
    dead = [dead_topic(name) for name in source_topics]
    _, facts = topics.describe([*source_topics, *dead])
    missing = [name for name in source_topics if dead_topic(name) not in facts]
    for name in missing:
        if not create:
            raise missing_topic(dead_topic(name))
        source = facts.get(name)
        room = (source.max_message_bytes if source else 1048588) + DEAD_OVERHEAD_BYTES
        wanted = {"max.message.bytes": str(room), **BROKERS_TIME}
        topics.create(dead_topic(name), source.partitions if source else 1, wanted)
    if missing:
        _, facts = topics.describe([*source_topics, *dead])
    for name in source_topics:
        _check_dead_size(facts.get(name), facts.get(dead_topic(name)))
    return {name: facts[name] for name in dead if name in facts}


def _check_dead_size(source: TopicFacts | None, dead: TopicFacts | None) -> None:
    if source is None or dead is None:
        return
    needed = source.max_message_bytes + DEAD_OVERHEAD_BYTES
    if dead.max_message_bytes < needed:
        raise ConfigError(
            f"topic {dead.name} takes {dead.max_message_bytes} bytes, but a sealed record of {source.name} may need "
            f"{needed}; set its max.message.bytes to that"
        )
