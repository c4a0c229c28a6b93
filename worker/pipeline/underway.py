"""The one batch that is delivered while the next one is collected."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from worker.model import TopicPartition
from worker.pipeline.ahead import Begun
from worker.pipeline.assignment import Assignment
from worker.pipeline.delivery import Delivery
from worker.pipeline.job import Job

_log = structlog.get_logger(__name__)


class UnderWay:
    """
    Hands a batch to the delivery, and takes over what of it became durable.

    Args:
        delivery: writes and commits, on its own thread.
        assignment: whose lanes move with what is durable.
        route: the route's name.
    """

    def __init__(self, delivery: Delivery, assignment: Assignment, route: str) -> None:
        self._delivery, self._assignment, self._route = delivery, assignment, route
        self.job: Job | None = None

    def submit(self, begun: Begun, metadata: object | None) -> None:
        """Hand a batch over, with the group's metadata as it is now."""
        batch, at = begun.batch, begun.collected_at
        self.job = Job(batch, self._assignment.of(batch), metadata, collected_at=at, ahead=begun.result)
        self._delivery.submit(self.job)

    def settled(self) -> Job | None:
        """Take over a job that is done, and return it; None while it is not, or there is none."""
        job = self.job
        if job is None or not job.done.is_set():
            return None
        self.job = None
        self._advance(job)
        return job

    def release(self, partitions: Collection[TopicPartition], *, lost: bool, patience_s: float) -> None:
        """Let a job whose partitions go away finish its flush, unless that fails; and take over what it did."""
        job = self.job
        if job is None or not job.touches(partitions):
            return
        if lost:
            job.cancel()
        worth = job.release()
        if not job.done.wait(patience_s if worth else 0):
            job.cancel()
            _log.warning("batch_abandoned", route=self._route, reason="the partitions are gone")
        self._advance(job)

    def end(self, patience_s: float) -> bool:
        """Give the last job a while to end; whether the sink is out of use."""
        job = self.job
        if job is not None and not job.done.is_set():
            job.release()
            if not job.done.wait(patience_s):
                job.cancel()
                job.done.wait(1.0)
        return job is None or job.done.is_set()

    def _advance(self, job: Job) -> None:
        """Take over what a job made durable; a transaction takes the group's offsets along itself."""
        stored = self._delivery.is_transactional
        for partition, offset in job.durable.items():
            self._assignment.advance(partition, job.lanes[partition], offset, stored=stored)
