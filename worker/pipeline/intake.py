"""Whether the assigned partitions are fetched."""

from __future__ import annotations

import structlog

from worker.pipeline.assignment import Assignment
from worker.pipeline.health import RouteHealth
from worker.pipeline.watch import SourceWatch
from worker.source.base import Source

_log = structlog.get_logger(__name__)


class Intake:
    """
    Pauses and resumes the source: for an operator, and while a batch takes long.

    Args:
        source: what is paused.
        assignment: whose active partitions are meant; those that are given meanwhile wait for their positions.
        health: told of an operator's pause.
        watch: told of partitions held back.
    """

    def __init__(self, source: Source, assignment: Assignment, health: RouteHealth, watch: SourceWatch) -> None:
        self._source, self._assignment, self._health, self._watch = source, assignment, health, watch
        self._wanted = False
        self._held = False
        self.is_paused = False

    def want(self, *, paused: bool) -> None:
        """An operator's wish, which `turn` fulfils; safe from any thread."""
        self._wanted = paused

    def turn(self) -> None:
        """Do what an operator asked for."""
        if self._wanted is self.is_paused:
            return
        self.is_paused = not self.is_paused
        if self.is_paused:
            self._source.pause(self._assignment.active())
            self._health.pause("operator", "")
        else:
            self._source.resume(self._assignment.active())
            self._health.resume("operator")
        _log.warning("route_paused" if self.is_paused else "route_resumed", route=self._health.route, by="operator")

    def hold(self) -> None:
        """Fetch nothing until `let_go`: the batch before takes long."""
        if not self._held:
            self._held = True
            self._source.pause(self._assignment.active())
            self._watch.held(len(self._assignment))

    def let_go(self) -> None:
        """Fetch again, unless an operator wants a pause."""
        if self._held:
            self._held = False
            if not self.is_paused:
                self._source.resume(self._assignment.active())
            self._watch.held(0)
