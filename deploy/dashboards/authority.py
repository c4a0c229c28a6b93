"""Authority: the self-hosted key service of each region."""

from __future__ import annotations

from deploy.dashboards.model import Board, Panel, Row, q
from deploy.dashboards.shared import AUTHORITIES, AUTHORITY_INSTANCES, OF_INSTANCE, quantile, rate

_REQUESTS = Row(
    "Requests",
    (
        Panel(
            title="Requests by endpoint",
            help="What clients ask. Keys for writing: generate-data-key; for reading: retrieve-data-key-fallible.",
            unit="reqps",
            queries=(
                q(rate("authority_requests_total", OF_INSTANCE, "region", "endpoint"), "{{region}} {{endpoint}}"),
            ),
        ),
        Panel(
            title="Requests by answer",
            help="401: a token is missing or expired; 403: revoked, no grant or a disabled keyset; 429: quota; 5xx: "
            "the store or the audit trail fails.",
            unit="reqps",
            queries=(q(rate("authority_requests_total", OF_INSTANCE, "region", "status"), "{{region}} {{status}}"),),
            runbook="authority-errors",
        ),
        Panel(
            title="Time of a request",
            help="Without the line. 500 keys take about 12 ms; more means a full processor: one process derives about "
            "40,000 keys a second.",
            unit="s",
            queries=(
                q(quantile(0.5, "authority_request_seconds", OF_INSTANCE, "endpoint"), "{{endpoint}} p50"),
                q(quantile(0.99, "authority_request_seconds", OF_INSTANCE, "endpoint"), "{{endpoint}} p99"),
            ),
            runbook="authority-slow",
            may_be_empty="an endpoint was not asked lately",
        ),
        Panel(
            title="Keys",
            help="Keys given, by operation. Retrieved keys far above what readers explain: someone reads everything.",
            unit="short",
            queries=(q(rate("authority_keys_total", OF_INSTANCE, "region", "operation"), "{{region}} {{operation}}"),),
        ),
        Panel(
            title="Refusals",
            help="Keys or requests refused: revoked clients, missing grants, keysets that are disabled, other regions' "
            "envelopes. A surge after a change is the change; a surge without one is an attempt.",
            unit="short",
            queries=(
                q(rate("authority_refusals_total", OF_INSTANCE, "region", "operation"), "{{region}} {{operation}}"),
            ),
            runbook="authority-refusals",
        ),
        Panel(
            title="Over quota",
            help="Requests refused with 429. Raise the client's quota, or find out what it reads.",
            unit="short",
            queries=(
                q(
                    rate("authority_quota_refusals_total", OF_INSTANCE, "region", "operation"),
                    "{{region}} {{operation}}",
                ),
            ),
            runbook="authority-quota",
        ),
    ),
)

_PROCESS = Row(
    "Process",
    (
        Panel(
            title="Memory",
            help="Resident memory. It holds the store's state, not keys; it grows with clients and keysets only.",
            unit="bytes",
            queries=(
                q(
                    'sum by (region, instance) (process_resident_memory_bytes{region=~"$region",process="authority"})',
                    "{{region}} {{instance}}",
                ),
            ),
        ),
        Panel(
            title="Processor",
            help="Cores in use. Near 1 the authority is full: about 40,000 keys a second.",
            unit="short",
            queries=(
                q(
                    "sum by (region, instance) (rate(process_cpu_seconds_total"
                    '{region=~"$region",process="authority"}[$__rate_interval]))',
                    "{{region}} {{instance}}",
                ),
            ),
            runbook="authority-slow",
        ),
        Panel(
            title="Open files",
            help="Share of what the system allows. Each connection of a client is one.",
            unit="percentunit",
            queries=(
                q(
                    "max by (region, instance) (process_open_fds"
                    '{region=~"$region",process="authority"} / process_max_fds{region=~"$region",process="authority"})',
                    "{{region}} {{instance}}",
                ),
            ),
            steps=((None, "green"), (0.8, "red")),
        ),
    ),
)

BOARD = Board(
    "residency-authority",
    "Residency / Authority",
    "The self-hosted key service: requests, refusals, quotas, clients, audit.",
    (AUTHORITIES, AUTHORITY_INSTANCES),
    (),
    (_REQUESTS, _PROCESS),
)
