"""Spans by OpenTelemetry's SDK, sent to a collector over OTLP/HTTP; the only module that knows the SDK."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from uuid import UUID

import structlog
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from worker.metrics.traces import BatchTrace
from worker.version import __version__

_NS = 1_000_000_000
_LINKS = 64
_POSITIONS = 64
# The exporter tries for ten seconds and more; a stop has its own bounds.
_CLOSE_S = 2.0
_QUIET_S = 60.0
_log = structlog.get_logger(__name__)


def to_collector(*, service: str, region: str, instance: str) -> OpenTelemetryTraces:
    """Return traces that the standard variables describe: endpoint, headers, sampler, queue, resource."""
    own = {
        "service.name": service,
        "service.version": __version__,
        "service.instance.id": instance,
        "cloud.region": region,
    }
    resource = Resource.create().merge(Resource(own)).merge(OTELResourceDetector().detect())
    logger = logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [_Undelivered()], False
    ids = RequestIds()
    provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetryTraces(provider, ids)


class _Undelivered(logging.Handler):
    """Says in the worker's own log, now and then, that spans do not reach their collector."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._quiet_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Say so."""
        if time.monotonic() > self._quiet_until:
            self._quiet_until = time.monotonic() + _QUIET_S
            _log.warning("traces_not_sent", error=record.getMessage())


class RequestIds(RandomIdGenerator):
    """Random ids, but those of a request to the authority follow from the request's own id, so that it can be found."""

    def __init__(self) -> None:
        self._next = threading.local()

    @contextlib.contextmanager
    def of(self, request_id: UUID | None) -> Iterator[None]:
        """Give, within a block and on this thread, the ids of a request."""
        self._next.ids = None if request_id is None else ids_of(request_id)
        try:
            yield
        finally:
            self._next.ids = None

    def generate_trace_id(self) -> int:
        """Return a trace's id."""
        ids = getattr(self._next, "ids", None)
        return ids[0] if ids is not None else int(super().generate_trace_id())

    def generate_span_id(self) -> int:
        """Return a span's id."""
        ids = getattr(self._next, "ids", None)
        return ids[1] if ids is not None else int(super().generate_span_id())


def ids_of(request_id: UUID) -> tuple[int, int]:
    """
    Return trace and span id of a request.

    Hashed, since samplers take a trace's id for a random number, and some bits of a uuid are not.
    """
    digest = hashlib.blake2b(request_id.bytes, digest_size=24, person=b"worker-trace").digest()
    return int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:], "big")


class OpenTelemetryTraces:
    """
    `Traces` through a provider.

    Args:
        provider: closed with it.
        ids: the provider's.
    """

    def __init__(self, provider: TracerProvider, ids: RequestIds) -> None:
        self._provider, self._ids = provider, ids
        self._tracer = provider.get_tracer("residency-worker", __version__)
        self._thread = threading.local()

    def batch(self, route: str, *, waited_s: float, records: int, positions: Iterable[str]) -> BatchTrace:
        """Begin a batch's trace; see `Traces`."""
        now = time.time_ns()
        span = self._tracer.start_span(
            "batch",
            context=Context(),
            kind=SpanKind.CONSUMER,
            start_time=now - int(waited_s * _NS),
            attributes={
                "messaging.system": "kafka",
                "messaging.batch.message_count": records,
                "worker.route": route,
                "worker.positions": tuple(islice(positions, _POSITIONS)),
            },
        )
        trace = self._thread.trace = _Batch(self._tracer, span, self._forget)
        trace.stage("poll", waited_s)
        return trace

    def stage(self, stage: str, seconds: float) -> None:
        """Note a stage that has just ended; see `Traces`."""
        trace = self._current()
        if trace is not None:
            trace.stage(stage, seconds)

    def keys(self, seconds: float) -> None:
        """Note that the keys are there; see `Traces`."""
        trace = self._current()
        if trace is not None:
            trace.keys(seconds)

    def brought(self, request_ids: Iterable[UUID]) -> None:
        """Note which requests brought them; see `Traces`."""
        trace = self._current()
        if trace is not None:
            trace.brought(request_ids)

    def retried(self, reason: str) -> None:
        """Note a wait; see `Traces`."""
        trace = self._current()
        if trace is not None:
            trace.span.add_event("retry", {"worker.reason": reason})

    @contextlib.contextmanager
    def request(self, endpoint: str, request_id: UUID | None) -> Iterator[Mapping[str, str]]:
        """Trace one request; see `Traces`."""
        attributes = {"rpc.system": "zerokms", "rpc.method": endpoint}
        if request_id is not None:
            attributes["worker.request_id"] = str(request_id)
        with self._ids.of(request_id):
            span = self._tracer.start_span(endpoint, Context(), kind=SpanKind.CLIENT, attributes=attributes)
        headers: dict[str, str] = {}
        propagate.inject(headers, set_span_in_context(span, Context()))
        try:
            yield headers
        except BaseException as exc:
            _failed(span, exc)
            raise
        finally:
            span.end()

    def served(self, endpoint: str, headers: Mapping[str, str], *, status: int, seconds: float) -> None:
        """Note a request that was answered here; see `Traces`."""
        now = time.time_ns()
        span = self._tracer.start_span(
            endpoint,
            propagate.extract(headers, Context()),
            kind=SpanKind.SERVER,
            start_time=now - int(seconds * _NS),
            attributes={"rpc.system": "zerokms", "rpc.method": endpoint, "http.response.status_code": status},
        )
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end(now)

    def close(self) -> None:
        """Send what is left, but for no longer than a stop may take; see `Traces`."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)

    def _current(self) -> _Batch | None:
        trace: _Batch | None = getattr(self._thread, "trace", None)
        return trace

    def _forget(self) -> None:
        self._thread.trace = None


class _Batch:
    """One batch's open span and what is put beneath it."""

    def __init__(self, tracer: Tracer, span: Span, forget: Callable[[], None]) -> None:
        self._tracer, self.span, self._forget = tracer, span, forget
        self._context = set_span_in_context(span, Context())
        self._keys: list[tuple[int, int]] = []

    def stage(self, stage: str, seconds: float) -> None:
        now = time.time_ns()
        self._put(stage, now - int(seconds * _NS), now)

    def keys(self, seconds: float) -> None:
        now = time.time_ns()
        # Shown as soon as it is known which requests brought them.
        self._keys.append((now - int(seconds * _NS), now))

    def brought(self, request_ids: Iterable[UUID]) -> None:
        if not self.span.is_recording():
            self._keys.clear()
            return
        links = [Link(_context(ids_of(each))) for each in islice(dict.fromkeys(request_ids), _LINKS)]
        for start, end in self._keys:
            self._put("keys", start, end, links)
        self._keys.clear()

    def end(self, outcome: str, error: BaseException | None) -> None:
        self.brought(())
        self.span.set_attribute("worker.outcome", outcome)
        if error is not None:
            _failed(self.span, error)
        self.span.end()
        self._forget()

    def _put(self, name: str, start: int, end: int, links: list[Link] | None = None) -> None:
        self._tracer.start_span(name, self._context, start_time=start, links=links).end(end)


def _context(ids: tuple[int, int]) -> SpanContext:
    return SpanContext(*ids, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _failed(span: Span, error: BaseException) -> None:
    """Note an error by its kind: an error's words have no place in an attribute."""
    kind = type(error).__name__
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, kind)
