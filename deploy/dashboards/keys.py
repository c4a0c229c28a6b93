"""Keys: caches, waits, the authority as the worker sees it, revocation."""

from __future__ import annotations

from deploy.dashboards.model import Board, Row, graph, q, states
from deploy.dashboards.shared import INSTANCES, MARKS, OF_INSTANCE, REGION, quantile, rate

_CACHES = Row(
    "Caches",
    (
        graph(
            "Requests by result",
            "A miss waits for the authority. A steady stream has next to none: misses mean a new context, keys "
            "that expire, or demand that grows.",
            "reqps",
            q(rate("worker_key_cache_requests_total", OF_INSTANCE, "cache", "result"), "{{cache}} {{result}}"),
            runbook="worker-key-wait",
        ),
        graph(
            "Share of hits",
            "Of what was asked of each cache. Low and steady with `record`: contexts that are seen once.",
            "percentunit",
            q(
                f"{rate('worker_key_cache_requests_total', OF_INSTANCE, 'cache', result='hit')} / "
                f"({rate('worker_key_cache_requests_total', OF_INSTANCE, 'cache')} > 0)",
                "{{cache}}",
            ),
            steps=((None, "red"), (0.9, "green")),
            may_be_empty="no cache was asked lately",
        ),
        graph(
            "Wait for keys",
            "How long one wait takes, 50th and 99th percentile: a round trip to the authority and its queue.",
            "s",
            q(quantile(0.5, "worker_key_wait_seconds", OF_INSTANCE, "cache"), "{{cache}} p50"),
            q(quantile(0.99, "worker_key_wait_seconds", OF_INSTANCE, "cache"), "{{cache}} p99"),
            runbook="worker-key-wait",
            may_be_empty="nobody waited lately",
        ),
        graph(
            "Keys held",
            "In memory, by cache and keyset, as the last sweep found them. A pool holds what it expects to need, "
            "a lease is one key for many values.",
            "short",
            q(f"sum by (cache, keyset) (worker_keys_held{OF_INSTANCE})", "{{cache}} {{keyset}}"),
            width=6,
        ),
        graph(
            "Memory of keys",
            "Bytes that leases and pools take beside what they may take. At the budget the least used leases go "
            "first: more contexts than the budget holds cost a request each.",
            "bytes",
            q(f"sum by (instance) (worker_key_cache_bytes{OF_INSTANCE})", "{{instance}} held"),
            q(f"sum by (instance) (worker_key_cache_budget_bytes{OF_INSTANCE})", "{{instance}} budget"),
            width=6,
        ),
        graph(
            "Life of keys",
            "Generated = used + expired + wasted + held. Much expired: pools too deep for an uneven stream; much "
            "wasted: rotations, restarts, aborted batches.",
            "short",
            q(rate("worker_keys_total", OF_INSTANCE, "event"), "{{event}}"),
            width=6,
        ),
        graph(
            "Share of time waited",
            "Seconds a second that encryption waits for keys. Above 0.2 keys limit the worker: more requests in "
            "flight, `leased` instead of `record`, or a nearer authority.",
            "percentunit",
            q(rate("worker_key_wait_seconds_sum", OF_INSTANCE, "instance"), "{{instance}}"),
            steps=((None, "green"), (0.2, "red")),
            runbook="worker-key-wait",
            width=6,
        ),
    ),
)

_REVOCATION = Row(
    "Revocation",
    (
        graph(
            "Revocation bound",
            "How long a revoked key may still be used: age, longest batch, request. `max_age_s` sets the first.",
            "s",
            q(f"max by (part) (worker_revocation_bound_seconds{OF_INSTANCE})", "{{part}}"),
            stacked=True,
            runbook="worker-revocation-bound-exceeded",
        ),
        graph(
            "Oldest key",
            "Age of the oldest key held. Above the bound's age something keeps keys too long: drop them by "
            "`rotate` and report it.",
            "s",
            q(f"max by (instance) (worker_oldest_key_age_seconds{OF_INSTANCE})", "{{instance}}"),
            q('max(worker_revocation_bound_seconds{region=~"$region",instance=~"$instance",part="age"})', "bound"),
            runbook="worker-oldest-key-too-old",
        ),
        graph(
            "Tokens and certificates expire in",
            "The service token is renewed 90 s ahead when it is used; an idle worker lets it expire. Certificates "
            "are read from their files, so a renewed one shows at once.",
            "s",
            q(
                f"min by (service) (worker_token_expiry_timestamp_seconds{OF_INSTANCE}) - time()",
                "token {{service}}",
            ),
            q(
                f"min by (certificate) (worker_certificate_expiry_timestamp_seconds{OF_INSTANCE}) - time()",
                "certificate {{certificate}}",
            ),
            runbook="worker-certificate-near-expiry",
        ),
    ),
)

_AUTHORITY = Row(
    "The authority, as the worker sees it",
    (
        graph(
            "Requests by answer",
            "By endpoint. 401, 403: identity or grant; 429: quota; 5xx, unreachable: an outage, retried.",
            "reqps",
            q(
                f"sum by (endpoint, outcome) (rate(worker_authority_requests_total{OF_INSTANCE}"
                "[$__rate_interval])) > 0"
                f" or 0 * count by (region) (worker_build_info{OF_INSTANCE})",
                "{{endpoint}} {{outcome}}",
            ),
            runbook="worker-authority-errors",
        ),
        graph(
            "Time of a request",
            "500 keys take about 12 ms at an idle authority, and the line. Rising together with requests in "
            "flight: the authority is full.",
            "s",
            q(quantile(0.5, "worker_authority_request_seconds", OF_INSTANCE, "endpoint"), "{{endpoint}} p50"),
            q(quantile(0.99, "worker_authority_request_seconds", OF_INSTANCE, "endpoint"), "{{endpoint}} p99"),
            runbook="worker-authority-errors",
            may_be_empty="an endpoint was not asked lately",
        ),
        states(
            "Breaker",
            "Open: after five outages in a row the authority is left alone for 5 s at a time.",
            "short",
            q(f"max by (instance) (worker_breaker_state{OF_INSTANCE})", "{{instance}}"),
            words=(("0", "closed", "green"), ("1", "half open", "orange"), ("2", "open", "red")),
            steps=((None, "green"), (1, "orange"), (2, "red")),
            runbook="worker-breaker-open",
        ),
        graph(
            "Requests in flight",
            "At `requests_in_flight` for long: more would be asked at once if it were allowed.",
            "short",
            q(f"sum by (instance) (worker_authority_requests_in_flight{OF_INSTANCE})", "{{instance}}"),
        ),
        graph(
            "Keys a request",
            "Full requests of 500 are efficient; ones and twos under load mean many contexts of few values.",
            "short",
            q(
                f"{rate('worker_authority_keys_per_request_sum', OF_INSTANCE, 'instance')} / "
                f"({rate('worker_authority_keys_per_request_count', OF_INSTANCE, 'instance')} > 0)",
                "{{instance}}",
            ),
            may_be_empty="no keys were asked for lately",
        ),
        graph(
            "Retries",
            "Requests asked again. Throttled: the authority says when to come back.",
            "reqps",
            q(rate("worker_authority_retries_total", OF_INSTANCE, "reason"), "{{reason}}"),
            runbook="worker-authority-errors",
        ),
    ),
)

BOARD = Board(
    "residency-keys",
    "Residency / Keys",
    "Key caches, waits, the authority as the worker sees it, and how long a revoked key may still be used.",
    (REGION, INSTANCES),
    MARKS,
    (_CACHES, _REVOCATION, _AUTHORITY),
)
