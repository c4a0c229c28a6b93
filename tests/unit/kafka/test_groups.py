"""What is asked of a group's coordinator where nobody answers."""

from __future__ import annotations

import socket
import threading

import pytest

from worker.errors import SourceUnavailable
from worker.kafka.groups import described
from worker.kafka.properties import connection_properties


def test_a_broker_that_never_answers_is_waited_for_no_longer_than_its_time() -> None:
    """It takes two seconds, and leaves no thread behind."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = connection_properties(f"127.0.0.1:{silent.getsockname()[1]}", {})
        before = set(threading.enumerate())

        with pytest.raises(SourceUnavailable, match="no broker takes the request"):
            described(connection, "g")

    assert [each for each in threading.enumerate() if each not in before and each.is_alive()] == []
