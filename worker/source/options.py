"""What a source is told."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from worker.options import Options
from worker.topic_names import SourceTopic

Assignment = Literal["cooperative", "eager", "consumer"]
Start = Literal["earliest", "latest"] | AwareDatetime


class SourceOptions(Options):
    """`source` of a route."""

    topics: tuple[SourceTopic, ...] = Field(min_length=1)
    """Names of the topics to read."""
    start: Start = "earliest"
    """Where a partition without a stored position begins: `earliest`, `latest`, or a time with its zone."""
    on_offset_loss: Literal["stop", "earliest", "latest"] = "stop"
    """What to do where the position is gone from the log: `stop` the worker, or begin again there."""
    assignment: Assignment | None = None
    """
    How the group shares partitions: `cooperative` (cooperative-sticky), `eager` (range), or `consumer` (KIP-848,
    needs Kafka 4); by default `eager` with static membership, else `cooperative`.
    """
    static_membership: bool = False
    """
    Join with the instance's name, so that a restart within `session_timeout_s` moves nothing; not with
    `cooperative`.
    """
    max_poll_interval_s: float = Field(300, ge=10, le=86_400)
    """After this long without a poll the group takes the partitions away."""
    session_timeout_s: float = Field(45, ge=6, le=1_800)
    """
    After this long without a heartbeat the group takes the partitions away; not with `consumer`, where the broker's
    `group.consumer.session.timeout.ms` says it.
    """
    queue_bytes: int = Field(16 * 2**20, ge=2**20, le=2**30)
    """Bound of what is fetched ahead."""
    fetch_bytes: int = Field(2**20, ge=2**10, le=2**30)
    """Bound of one fetch from one partition."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # Cooperative members give partitions up in one round and take them in a second. One that dies in between and
        # comes back by its name is handed its old assignment without a second round: the rest would have no owner.
        if self.static_membership and self.assignment == "cooperative":
            raise ValueError(
                "static_membership and assignment = cooperative can leave partitions without an owner after a crash; "
                "use eager or consumer"
            )
        if self.assignment == "consumer" and "session_timeout_s" in self.model_fields_set:
            raise ValueError(
                "session_timeout_s has no effect with assignment = consumer; set "
                "group.consumer.session.timeout.ms at the broker"
            )
        return self

    @property
    def protocol(self) -> Assignment:
        """How the group shares partitions, the default filled in."""
        return self.assignment or ("eager" if self.static_membership else "cooperative")

    @property
    def start_time_ms(self) -> int | None:
        """The start as ms since 1970 where it is a time, else None."""
        return int(self.start.timestamp() * 1000) if isinstance(self.start, datetime) else None
