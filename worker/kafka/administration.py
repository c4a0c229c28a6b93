"""Administrative clients, one for all who ask with the same settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

from confluent_kafka.admin import AdminClient

from worker.errors import SinkUnavailable, TransientError
from worker.kafka.clients import make_admin
from worker.kafka.properties import Property
from worker.kafka.refusals import Refusals


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Administration:
    """
    A client for questions about a cluster, thread-safe; it ends when nobody holds it any more.

    Args:
        client: librdkafka's; its threads and connections are as many as those of one that reads.
        refusals: what the brokers last said of its identity or its certificates.
    """

    client: AdminClient
    refusals: Refusals


_held: WeakValueDictionary[Hashable, Administration] = WeakValueDictionary()
_lock = threading.Lock()


def administration(
    properties: Mapping[str, Property], *, unavailable: type[TransientError] = SinkUnavailable
) -> Administration:
    """
    Return the client for these settings; whoever asks while another holds it gets the same.

    Args:
        properties: how to reach the cluster.
        unavailable: raised where there is no access token now.

    Raises:
        ConfigError: a property is unknown or has a value that the client refuses.
    """
    # A client does not survive a fork.
    key = (os.getpid(), frozenset(properties.items()))
    with _lock:
        found = _held.get(key)
        if found is None:
            refusals = Refusals()
            # A question about a misspelt topic must not make it.
            conf = {**properties, "error_cb": refusals, "allow.auto.create.topics": False}
            found = _held[key] = Administration(make_admin(conf, unavailable=unavailable), refusals)
        return found
