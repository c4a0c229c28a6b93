"""What the way to the keys counts: data keys, their caches, and requests to the authority."""

from __future__ import annotations

from worker.metrics.metric import Metric

_PER_REQUEST = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 300.0, 400.0, 490.0, 500.0)

KEYS: tuple[Metric, ...] = (
    Metric("worker_keys_total", "counter", "Data keys, by event.", ("event",)),
    Metric(
        "worker_keys_held",
        "gauge",
        "Data keys held in memory, by cache and keyset.",
        ("cache", "keyset"),
        aggregate="livesum",
        from_start=False,
    ),
    Metric(
        "worker_key_cache_requests_total",
        "counter",
        "Requests to a key cache, by result.",
        ("cache", "result"),
    ),
    Metric("worker_key_rotations_total", "counter", "Times that every key held was dropped on demand."),
    Metric("worker_key_wait_seconds", "histogram", "Time encryption waited for keys.", ("cache",)),
    Metric("worker_authority_requests_total", "counter", "Requests to the authority.", ("endpoint", "outcome")),
    Metric(
        "worker_authority_request_seconds",
        "histogram",
        "Time of one request to the authority.",
        ("endpoint",),
    ),
    Metric(
        "worker_authority_retries_total",
        "counter",
        "Requests asked again, by reason.",
        ("reason",),
    ),
    Metric("worker_authority_keys_per_request", "histogram", "Keys in one request.", (), _PER_REQUEST),
    Metric(
        "worker_authority_requests_in_flight",
        "gauge",
        "Requests to the authority under way.",
        (),
        aggregate="livesum",
    ),
    Metric("worker_breaker_state", "gauge", "Circuit breaker: 0 closed, 1 half open, 2 open."),
    Metric("worker_key_cache_bytes", "gauge", "Bytes that leases and pools take.", aggregate="livesum"),
    Metric("worker_key_cache_budget_bytes", "gauge", "Bytes that leases and pools may take.", aggregate="livesum"),
    Metric("worker_oldest_key_age_seconds", "gauge", "Age of the oldest key held, 0 where none is."),
    Metric(
        "worker_revocation_bound_seconds",
        "gauge",
        "How long a revoked key may still be used, by part.",
        ("part",),
        from_start=False,
    ),
    Metric(
        "worker_token_expiry_timestamp_seconds",
        "gauge",
        "When the token in use expires.",
        ("service",),
        aggregate="livemin",
        from_start=False,
    ),
)
