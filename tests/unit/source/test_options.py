"""What a source may be told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from worker.kafka.clients import make_consumer
from worker.kafka.properties import Property
from worker.source import offsets
from worker.source.options import Assignment, SourceOptions
from worker.source.properties import GroupMember, consumer_properties


def test_refuses_cooperative_static_members() -> None:
    """A static member that dies while it gives partitions up would leave them without an owner."""
    with pytest.raises(ValidationError, match="without an owner"):
        SourceOptions(topics=("t",), assignment="cooperative", static_membership=True)


@pytest.mark.parametrize(("static", "protocol"), [(False, "cooperative"), (True, "eager")])
def test_the_default_assignment_fits_the_membership(static: bool, protocol: str) -> None:
    """Cooperative, but for static members."""
    assert SourceOptions(topics=("t",), static_membership=static).protocol == protocol


def test_refuses_a_session_timeout_that_the_broker_decides() -> None:
    """With KIP-848 the group's own setting counts; one here would be ignored without a word."""
    with pytest.raises(ValidationError, match="no effect"):
        SourceOptions(topics=("t",), assignment="consumer", session_timeout_s=8)


@pytest.mark.parametrize("assignment", ["cooperative", "eager", "consumer"])
def test_the_client_takes_the_properties_of_each_assignment(assignment: Assignment) -> None:
    """What the classic protocol may be told, a group of KIP-848 refuses; each gets its own."""
    options = SourceOptions(topics=("t",), assignment=assignment)
    connection: dict[str, Property] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}

    make_consumer(consumer_properties(options, GroupMember("g", "w"), connection, bounded=False)).close()


def test_a_fetch_under_way_outlasts_no_question() -> None:
    """A broker answers a connection's requests in turn: a question behind an idle fetch would else be given up."""
    properties = consumer_properties(SourceOptions(topics=("t",)), GroupMember("g", "w"), {}, bounded=False)

    assert int(str(properties["fetch.wait.max.ms"])) / 1000 < offsets._EDGE_S
