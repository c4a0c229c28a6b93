"""A process that died is taken out of its groups: the others have its partitions at once, and not after its session."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping

import structlog

from worker.assembly.connections import kafka_connection
from worker.config import Settings
from worker.errors import SourceUnavailable, WorkerError
from worker.kafka.departure import Departures
from worker.source.properties import client_id

_log = structlog.get_logger(__name__)


def groups_of(settings: Settings) -> frozenset[str]:
    """
    Return the groups in which a dead member would be waited for.

    A static member's successor takes its name at once; of a `consumer` group (KIP-848) nobody removes another.
    """
    return frozenset(
        route.group
        for route in settings.routes
        if route.source.protocol != "consumer" and not route.source.static_membership
    )


class Departure:
    """
    One death's consequence, on a thread of its own.

    Args:
        settings: the region's.
        environ: where the cluster's secrets are.
        process: the number of the process that died.
        instance: its name.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], process: int, instance: str) -> None:
        self._settings, self._environ, self._process, self._instance = settings, environ, process, instance
        self._over, self._late = threading.Event(), False
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="departure", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether the groups have let it go, or said that they do not."""
        return self._over.is_set()

    def give_up(self) -> None:
        """Look for no member any more: from now on it may be the successor, which has the same name."""
        with self._lock:
            self._late = True

    def _run(self) -> None:
        try:
            self._remove()
        except WorkerError as exc:
            _log.warning("member_waited_for", process=self._process, error=str(exc))
        finally:
            self._over.set()

    def _remove(self) -> None:
        groups, kafka = groups_of(self._settings), self._settings.kafka
        if not groups:
            return
        if "client.id" in kafka.properties:
            raise SourceUnavailable("[kafka] properties give every member one client.id")
        with contextlib.closing(Departures(kafka_connection(kafka, self._environ))) as departures:
            members = departures.members(groups, client_id(self._instance))
            with self._lock:
                if self._late:
                    return
            removed = departures.remove(members)
        _log.info("member_removed", process=self._process, members=removed)
