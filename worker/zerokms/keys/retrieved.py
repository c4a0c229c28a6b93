"""Keys for decryption: deduplicated, fetched in batches, held for a while in a bounded LRU."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from worker.errors import KeyServiceUnavailable
from worker.interpreter import on_fork
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyRefused, KeyService, RetrieveRequest
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.upkeep import Clock, Gauge, Retired, Sweeper

Answer = DataKey | KeyRefused


class RetrievedKeys:
    """
    `DecryptionKeys` over one key service; thread-safe.

    The request itself, with its context and policy, is the cache's key: nothing is served across contexts. Threads
    that need one key ask for it once. A refusal is remembered for `negative_s`.

    Args:
        service, options, audit, metrics, clock: as `KeyCache`.
    """

    def __init__(
        self,
        service: KeyService,
        *,
        options: KeyOptions | None = None,
        audit: Audit,
        metrics: Metrics | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.options = KeyOptions() if options is None else options
        self._service, self._audit, self._clock = service, audit, clock
        self._gauge = Gauge(metrics)
        self._gauge.bound(self.options.max_age_s)
        self._reset()
        on_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[RetrieveRequest, tuple[float, Answer]] = OrderedDict()
        self._pending: dict[RetrieveRequest, Future[Answer]] = {}
        self._retired = Retired(self.options.grace_s)
        self._generation = 0
        self._sweeper = Sweeper(self, self.options.max_age_s)

    def __len__(self) -> int:
        return len(self._held)

    def keys(self, requests: Sequence[RetrieveRequest]) -> list[Answer]:
        """Return one answer per request, in order; see `DecryptionKeys.keys`."""
        answers: dict[RetrieveRequest, Answer] = {}
        waiting: dict[RetrieveRequest, Future[Answer]] = {}
        mine: dict[RetrieveRequest, Future[Answer]] = {}
        with self._lock:
            now = self._clock()
            self._retired.sweep(now)
            for request in dict.fromkeys(requests):
                held = self._look_up(request, now)
                if held is not None:
                    answers[request] = held
                elif request in self._pending:
                    waiting[request] = self._pending[request]
                else:
                    mine[request] = Future()
            self._pending.update(mine)
            generation = self._generation
        refused = sum(isinstance(answer, KeyRefused) for answer in answers.values())
        self._gauge.request("decrypt", "negative", refused)
        self._gauge.request("decrypt", "hit", len(answers) - refused)
        self._gauge.request("decrypt", "miss", len(mine) + len(waiting))
        if mine:
            answers.update(self._fetch(mine, now, generation))
        for request, future in waiting.items():
            answers[request] = self._result(future)
        return [answers[request] for request in requests]

    def _result(self, future: Future[Answer]) -> Answer:
        try:
            return future.result(self.options.wait_s)
        except FutureTimeout as exc:
            raise KeyServiceUnavailable(f"no data key arrived within {self.options.wait_s:g} s") from exc

    def _look_up(self, request: RetrieveRequest, now: float) -> Answer | None:
        found = self._held.get(request)
        if found is None:
            return None
        born, answer = found
        refused = isinstance(answer, KeyRefused)
        if now - born < (self.options.negative_s if refused else self.options.max_age_s):
            self._held.move_to_end(request)
            return answer
        self._evict(request, now, expired=True)
        return None

    def _fetch(
        self, mine: dict[RetrieveRequest, Future[Answer]], born: float, generation: int
    ) -> dict[RetrieveRequest, Answer]:
        started = time.perf_counter()
        try:
            got = dict(zip(mine, self._service.retrieve(list(mine), self._audit), strict=True))
        except BaseException as exc:
            self._settle(mine)
            for future in mine.values():
                future.set_exception(exc)
            raise
        finally:
            self._gauge.waited("decrypt", time.perf_counter() - started)
        with self._lock:
            self._hold(got, born, keep=generation == self._generation)
        self._settle(mine)
        for request, future in mine.items():
            future.set_result(got[request])
        return got

    def _settle(self, mine: dict[RetrieveRequest, Future[Answer]]) -> None:
        with self._lock:
            for request, future in mine.items():
                if self._pending.get(request) is future:
                    del self._pending[request]

    def _hold(self, got: dict[RetrieveRequest, Answer], born: float, *, keep: bool) -> None:
        now = self._clock()
        for request, answer in got.items():
            if isinstance(answer, DataKey) and (not keep or self.options.max_age_s == 0):
                self._retired.add(answer, now)
            elif keep:
                self._held[request] = (born, answer)
        while len(self._held) > self.options.max_retrieved:
            self._evict(next(iter(self._held)), now)

    def _evict(self, request: RetrieveRequest, now: float, *, expired: bool = False) -> None:
        answer = self._held.pop(request)[1]
        if isinstance(answer, DataKey):
            self._retired.add(answer, now)
            if expired:
                self._gauge.keys("expired", 1)

    def rotate(self) -> None:
        """Drop every key and refusal; the next batch asks anew."""
        with self._lock:
            now = self._clock()
            self._generation += 1
            for request in list(self._held):
                self._evict(request, now)
            self._pending.clear()

    def expire(self) -> None:
        """Drop what is past its age and wipe what is past its grace; a thread of the cache's own calls it."""
        with self._lock:
            now = self._clock()
            for request in [r for r, (born, _) in self._held.items() if now - born >= self.options.max_age_s]:
                self._evict(request, now, expired=True)
            self._retired.sweep(now)

    def close(self) -> None:
        """Wipe every key; safe to call twice."""
        self._sweeper.stop()
        self.rotate()
        with self._lock:
            self._retired.wipe()

    def after_fork(self) -> None:
        """Start afresh in a child process."""
        for _, answer in self._held.values():
            if isinstance(answer, DataKey):
                answer.wipe()
        self._reset()
