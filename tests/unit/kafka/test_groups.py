"""What is asked of a group's coordinator where nobody answers, or with what nobody can read."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from tests.fakes import coordinator
from tests.fakes.coordinator import Coordinator
from tests.fakes.framed import string
from worker.errors import SourceUnavailable
from worker.kafka.groups import Group, Member, described
from worker.kafka.properties import connection_properties
from worker.model import TopicPartition

_OF_ONE = struct.pack(">hi", 0, 1) + string("t")


def test_a_broker_that_never_answers_is_waited_for_no_longer_than_its_time() -> None:
    """It takes two seconds, and leaves no thread behind."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = connection_properties(f"127.0.0.1:{silent.getsockname()[1]}", {})
        before = set(threading.enumerate())

        with pytest.raises(SourceUnavailable, match="no broker takes the request"):
            described(connection, "g")

    assert [each for each in threading.enumerate() if each not in before and each.is_alive()] == []


def test_a_group_is_read() -> None:
    """With the share of each member."""
    share = _OF_ONE + struct.pack(">iiii", 2, 0, 4, -1)
    with Coordinator(coordinator.described("g", share)) as broker:
        found = described(connection_properties(f"127.0.0.1:{broker.port}", {}), "g")

    assert found == Group(True, [Member("", frozenset({TopicPartition("t", 0), TopicPartition("t", 4)}))])


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff" * 200, id="garbage"),
        pytest.param(coordinator.described("h", b""), id="another group"),
        pytest.param(coordinator.described("g", b"\x00\x00\xff"), id="short share"),
        pytest.param(coordinator.described("g", struct.pack(">hi", 0, 2**31 - 1)), id="endless share"),
        pytest.param(coordinator.described("g", struct.pack(">hii", 0, -1, -1)), id="no topics"),
        pytest.param(coordinator.described("g", _OF_ONE + struct.pack(">ii", -1, -1)), id="no partitions"),
    ],
)
def test_what_can_not_be_read_is_no_answer(group: bytes) -> None:
    """Whoever watches a group goes on."""
    with Coordinator(group) as broker, pytest.raises(SourceUnavailable, match="group g is not described"):
        described(connection_properties(f"127.0.0.1:{broker.port}", {}), "g")
