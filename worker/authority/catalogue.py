"""The authority's metrics."""

from worker.metrics import Metric

CATALOGUE: tuple[Metric, ...] = (
    Metric("authority_requests_total", "counter", "Requests, by endpoint and status.", ("endpoint", "status")),
    Metric("authority_request_seconds", "histogram", "Time of a request.", ("endpoint",)),
    Metric("authority_keys_total", "counter", "Keys derived, by operation.", ("operation",)),
    Metric("authority_refusals_total", "counter", "Keys or requests refused, by operation.", ("operation",)),
    Metric("authority_connections_closed_total", "counter", "Connections closed by us, by reason.", ("reason",)),
    Metric("authority_quota_refusals_total", "counter", "Requests over a client's quota.", ("operation",)),
)
