"""A key service that asks again, and one that stops asking for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeVar

import stamina
from pydantic import BaseModel, ConfigDict, Field

from worker.errors import KeyServiceThrottled, KeyServiceUnavailable
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyRefused, KeyService, KeySpec, RetrieveRequest

_T = TypeVar("_T")


class ResilienceOptions(BaseModel):
    """
    How often to ask again, and when to stop for a while.

    Args:
        attempts: tries of one call, the first included.
        wait_s, wait_max_s, jitter_s: the first pause, doubled each time up to the longest, plus up to so much.
        failures: calls that fail in a row before the breaker opens.
        open_s: how long an open breaker refuses before it lets one call try.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(default=3, ge=1, le=20)
    wait_s: float = Field(default=0.1, ge=0)
    wait_max_s: float = Field(default=2.0, ge=0)
    jitter_s: float = Field(default=0.5, ge=0)
    failures: int = Field(default=5, ge=1)
    open_s: float = Field(default=5.0, gt=0)


class BreakerState(IntEnum):
    """As `worker_breaker_state` shows it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """
    Counts outages in a row; open, it refuses at once, and after `open_s` lets one caller try.

    pybreaker holds a lock for the whole of a call, so that five requests could never be under way at once; this one
    is held only to count. A refusal is an answer, and a quota that is used up too: only other `KeyServiceUnavailable`
    count. Thread-safe.
    """

    def __init__(
        self, failures: int, open_s: float, *, metrics: Metrics | None = None, clock: Callable[[], float]
    ) -> None:
        self._limit, self._open_s, self._metrics, self._clock = failures, open_s, metrics, clock
        self._lock = threading.Lock()
        self._failures, self._opened_at, self._last = 0, 0.0, ""
        self.state = BreakerState.CLOSED
        self._show()

    def enter(self) -> None:
        """Let a call begin; raises `KeyServiceUnavailable` while open or while another call tries."""
        with self._lock:
            if self.state is BreakerState.CLOSED:
                return
            left = self._opened_at + self._open_s - self._clock()
            if left > 0:
                raise KeyServiceUnavailable(
                    f"{self._last}; that was time {self._failures}, and it is asked again in {left:.1f} s",
                    retry_after_s=left,
                )
            # The trial has open_s to end; if it never does, the next caller becomes the trial.
            self._opened_at = self._clock()
            self._turn(BreakerState.HALF_OPEN)

    def leave(self, failed: KeyServiceUnavailable | None = None) -> None:
        """Note how a call ended: with an outage, or else."""
        with self._lock:
            if failed is None:
                self._failures = 0
                self._turn(BreakerState.CLOSED)
                return
            self._failures += 1
            self._last = str(failed)
            if self.state is BreakerState.HALF_OPEN or self._failures >= self._limit:
                self._opened_at = self._clock()
                self._turn(BreakerState.OPEN)

    def _turn(self, state: BreakerState) -> None:
        if state is not self.state:
            self.state = state
            self._show()

    def _show(self) -> None:
        if self._metrics is not None:
            self._metrics.set("worker_breaker_state", self.state)


class ResilientKeyService:
    """
    A `KeyService` with bounded, jittered retries behind a breaker.

    Only `KeyServiceUnavailable` is asked again; the key of a lost answer was never used, so asking again is safe.

    Args:
        service: the one that is asked.
        options: the bounds.
        metrics: where retries and the breaker are shown.
        clock: monotonic seconds, for the breaker.
    """

    def __init__(
        self,
        service: KeyService,
        *,
        options: ResilienceOptions | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service, self._metrics = service, metrics
        self._options = ResilienceOptions() if options is None else options
        self.breaker = Breaker(self._options.failures, self._options.open_s, metrics=metrics, clock=clock)

    @property
    def keys_per_request(self) -> int | None:
        """Keys that fill a request, where the service says so."""
        return getattr(self._service, "keys_per_request", None)

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        """Return one fresh data key per request; see `KeyService`."""
        return self._ask(lambda: self._service.generate(requests, audit))

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> Sequence[DataKey | KeyRefused]:
        """Return each request's data key or refusal; see `KeyService`."""
        return self._ask(lambda: self._service.retrieve(requests, audit))

    def _ask(self, call: Callable[[], _T]) -> _T:
        o = self._options
        for attempt in stamina.retry_context(
            on=self._backoff,
            attempts=o.attempts,
            timeout=None,
            wait_initial=o.wait_s,
            wait_max=o.wait_max_s,
            wait_jitter=o.jitter_s,
        ):
            with attempt:
                return self._once(call)
        raise AssertionError("unreachable")

    def _backoff(self, error: Exception) -> bool | float:
        """Whether to ask again, or after how many seconds the service itself wishes to be asked."""
        if not isinstance(error, KeyServiceUnavailable) or self.breaker.state is not BreakerState.CLOSED:
            return False
        if self._metrics is not None:
            reason = "throttled" if isinstance(error, KeyServiceThrottled) else "unavailable"
            self._metrics.inc("worker_authority_retries_total", reason=reason)
        if error.retry_after_s is None:
            return True
        # A longer wish is the runner's to keep: it pauses partitions instead of holding a batch.
        return error.retry_after_s if error.retry_after_s <= self._options.wait_max_s else False

    def _once(self, call: Callable[[], _T]) -> _T:
        self.breaker.enter()
        try:
            result = call()
        except KeyServiceUnavailable as exc:
            # A quota that is used up is one caller's: the service is there, and whoever asks for else has it.
            self.breaker.leave(None if isinstance(exc, KeyServiceThrottled) else exc)
            raise
        except BaseException:
            self.breaker.leave()
            raise
        self.breaker.leave()
        return result


def resilient(
    service: KeyService, *, options: ResilienceOptions | None = None, metrics: Metrics | None = None
) -> ResilientKeyService:
    """Put retries and a breaker in front of a key service."""
    return ResilientKeyService(service, options=options, metrics=metrics)
