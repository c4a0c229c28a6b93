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

BOARD = Board(
    "residency-authority",
    "Residency / Authority",
    "The self-hosted key service: requests, refusals, quotas, clients, audit.",
    (AUTHORITIES, AUTHORITY_INSTANCES),
    (),
    (_REQUESTS,),
)
