"""Whether a transactional id that was let go is still as it was left."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from worker.errors import Fenced
from worker.kafka.kafka_python import admin_client
from worker.kafka.properties import Property

_Owner = tuple[int, int]


class Tenure:
    """
    What the brokers say of a transactional id's last owner: whoever takes the id is another one to them.

    Asked by kafka-python, since librdkafka has no such request; where that can't ask, nothing is known and nothing
    refused: the next transaction of either owner then shows it.

    Args:
        transactional_id: of which id.
        connection: what `worker.kafka.properties.connection_properties` returned.
    """

    def __init__(self, transactional_id: str, connection: Mapping[str, Property]) -> None:
        self._id, self._connection = transactional_id, connection
        self._left: _Owner | None = None

    def leave(self) -> None:
        """Remember who has the id, which is this process."""
        self._left = self._owner()

    def resume(self, name: str) -> None:
        """
        Go on where `leave` was called, once: what is taken from here on is taken by this process.

        Args:
            name: what messages call the owner, as `route customers`.

        Raises:
            Fenced: another process has taken the id since.
        """
        left, self._left = self._left, None
        found = None if left is None else self._owner()
        if found is not None and found != left:
            raise Fenced(
                f"{name}: while it was at rest another process took its transactional id {self._id}, and goes on; "
                "exactly one may run: give each its own WORKER_INSTANCE"
            )

    def _owner(self) -> _Owner | None:
        # What can't be told here is no reason to write nothing, and an answer may be anything.
        with contextlib.suppress(Exception), contextlib.closing(admin_client(self._connection)) as client:
            told = client.describe_transactions([self._id])[self._id]
            return told.producer_id, told.producer_epoch
        return None
