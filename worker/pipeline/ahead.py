"""The next batch, processed while the one before it waits for its keys or is written."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from worker.model import Batch
from worker.pipeline.collect import Collector
from worker.pipeline.job import Cancelled, Job, Processed
from worker.pipeline.stages import Processor
from worker.turn import Turn


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch on its way, when its first record came, and what it becomes where that was begun."""

    batch: Batch = field(repr=False)
    collected_at: float
    result: Future[Processed] | None = field(default=None, repr=False)


class OneByOne:
    """A processor of which threads make use by turns: while one waits for keys another goes on."""

    def __init__(self, processor: Processor) -> None:
        self._processor, self._turn = processor, Turn()

    def process(self, batch: Batch) -> Processed:
        """Process a batch, once any other has ended or waits; see `Processor.process`."""
        with self._turn.taken():
            return self._processor.process(batch)


class Ahead:
    """
    Holds at most one batch, whose processing needs neither the sink nor the batch before it.

    Where it turns out that the batch is to be another one it is given back; what was made of it is never used.

    Args:
        processor: called on threads of this object's own.
        collector: where batches come from, and go back to.
        route: the route's name.
    """

    def __init__(self, processor: Processor, collector: Collector, route: str) -> None:
        self._processor, self._collector = processor, collector
        # The batch that it holds, and the one before it, which may wait for keys yet.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix=f"process-{route}")
        self._begun: Begun | None = None
        self._before: Job | None = None
        self._is_closed = False

    @property
    def is_there(self) -> bool:
        """Whether a batch is held."""
        return self._begun is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held and nothing collected."""
        return self._begun is None and self._collector.is_empty()

    def begin(self, job: Job) -> None:
        """Take what was collected, and process it once the batch before it waits for its keys, or has them."""
        begun = self.take()
        if begun is not None:
            self._before = job
            result = self._threads.submit(self._after, job, begun.batch)
            self._begun = Begun(begun.batch, begun.collected_at, result)

    def _after(self, job: Job, batch: Batch) -> Processed:
        job.may_be_followed.wait()
        if self._is_closed:
            raise Cancelled
        return self._processor.process(batch)

    def take(self) -> Begun | None:
        """Return the batch whose turn it is: the one that is held, else what was collected."""
        begun, self._begun = self._begun, None
        if begun is not None:
            return begun
        batch = self._collector.take()
        return None if batch is None else Begun(batch, self._collector.first_at)

    def give_back(self) -> None:
        """Let the batch be collected anew: it may not be what it was, or not be its turn."""
        begun, self._begun = self._begun, None
        if begun is not None:
            if begun.result is not None:
                begun.result.cancel()
            self._collector.put_back(begun.batch)

    def close(self) -> None:
        """Begin nothing more; does not wait for what is under way, nor lets it wait for a job that may never end."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._before is not None:
            # The interpreter joins these threads at its end.
            self._before.may_be_followed.set()
