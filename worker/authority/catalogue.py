"""The authority's metrics."""

from worker.authority.endpoints import ENDPOINTS
from worker.metrics import Metric

_OPERATIONS = {"operation": tuple(dict.fromkeys(endpoint.name for endpoint in ENDPOINTS))}
_KEYS = {"operation": ("generate", "retrieve")}
_REASONS = {"reason": ("address", "full", "header", "malformed", "refused", "unread")}

CATALOGUE: tuple[Metric, ...] = (
    Metric(
        "authority_requests_total",
        "counter",
        "Requests, by endpoint and status.",
        ("endpoint", "status"),
        from_start=False,
    ),
    Metric("authority_request_seconds", "histogram", "Time of a request.", ("endpoint",), from_start=False),
    Metric("authority_keys_total", "counter", "Keys derived, by operation.", ("operation",), words=_KEYS),
    Metric(
        "authority_refusals_total",
        "counter",
        "Keys or requests refused, by operation.",
        ("operation",),
        words=_OPERATIONS,
    ),
    Metric(
        "authority_connections_closed_total",
        "counter",
        "Connections closed by us, by reason.",
        ("reason",),
        words=_REASONS,
    ),
    Metric("authority_quota_refusals_total", "counter", "Requests over a client's quota.", ("operation",), words=_KEYS),
)
