"""Administrative clients are shared by those who ask with the same settings."""

from __future__ import annotations

import gc
import weakref

from worker.kafka.administration import administration
from worker.kafka.properties import Property

HERE: dict[str, Property] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


def test_equal_settings_share_a_client() -> None:
    """Whoever asks while another holds the client gets the same; other settings get another."""
    first = administration(HERE)

    assert administration(dict(HERE)) is first
    assert administration({**HERE, "client.id": "another"}) is not first


def test_a_client_ends_with_its_last_holder() -> None:
    """Nothing is kept for who may come."""
    held = administration(HERE)
    gone = weakref.ref(held)

    del held
    gc.collect()

    assert gone() is None
