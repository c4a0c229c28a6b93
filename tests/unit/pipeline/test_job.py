"""What a batch becomes: what was begun before its turn, or processed anew."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.fakes.pipeline import CopyProcessor, numbered
from worker.errors import KeyServiceUnavailable
from worker.model import Batch, TopicPartition, batch_of
from worker.pipeline.job import Job, Processed


@pytest.fixture
def batch() -> Batch:
    return batch_of(numbered(TopicPartition("in", 0), range(10)))


def test_what_no_thread_has_begun_yet_is_not_waited_for(batch: Batch) -> None:
    """Its thread may be busy with a batch that was given back."""
    processor, ahead = CopyProcessor(), Future[Processed]()

    result = Job(batch, {}, ahead=ahead).processed(batch, processor.process)

    assert result.batch is batch
    assert ahead.cancelled()


def test_what_goes_away_in_its_turn_is_waited_for(batch: Batch) -> None:
    """Nobody has got past that yet: the pause comes before the next attempt, and a stop between them."""
    processor, ahead = CopyProcessor(), Future[Processed]()
    ahead.set_running_or_notify_cancel()
    job = Job(batch, {}, ahead=ahead)

    def fail() -> None:
        assert job.may_be_followed.wait(20)
        ahead.set_exception(KeyServiceUnavailable("away"))

    with ThreadPoolExecutor(1) as threads:
        failed = threads.submit(fail)
        with pytest.raises(KeyServiceUnavailable):
            job.processed(batch, processor.process)
        failed.result(20)

    assert processor.calls == 0
