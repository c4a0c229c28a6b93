"""Authority: the self-hosted key service of each region."""

from __future__ import annotations

from deploy.dashboards.model import Board, Panel, Row, q
from deploy.dashboards.shared import AUTHORITIES, AUTHORITY_INSTANCES, OF_INSTANCE, quantile, rate

_STATE = Row(
    "State",
    (
        Panel(
            title="Ready",
            help="Each part, tried at every scrape: the store is whole, the audit trail can be written, a key can be "
            "derived. A part that is not sound refuses all keys.",
            unit="short",
            kind="states",
            queries=(q(f"min by (region, part) (authority_ready{OF_INSTANCE})", "{{region}} {{part}}"),),
            steps=((None, "red"), (1, "green")),
            words=(("0", "not sound", "red"), ("1", "sound", "green")),
            width=12,
            runbook="authority-not-ready",
        ),
        Panel(
            title="Clients",
            help="Clients enrolled. Workers and readers have one each; more than you know of is worth a question.",
            unit="short",
            kind="stat",
            queries=(q(f"max by (region) (authority_clients{OF_INSTANCE})", "{{region}}"),),
            width=4,
        ),
        Panel(
            title="Keysets",
            help="Keysets, disabled ones included. Grants are given per keyset.",
            unit="short",
            kind="stat",
            queries=(q(f"max by (region) (authority_keysets{OF_INSTANCE})", "{{region}}"),),
            width=4,
        ),
        Panel(
            title="Disk free",
            help="Where the store and the audit trail lie. Without room for an audit line no key is given.",
            unit="bytes",
            kind="stat",
            queries=(q(f"min by (region) (authority_disk_free_bytes{OF_INSTANCE})", "{{region}}"),),
            steps=((None, "red"), (1 << 30, "orange"), (5 << 30, "green")),
            width=4,
            runbook="authority-disk",
        ),
        Panel(
            title="Versions",
            help="What runs where; two versions in one region are a rollout that hangs.",
            unit="short",
            kind="table",
            queries=(q(f"count by (region, version) (authority_build_info{OF_INSTANCE})"),),
            width=24,
            height=4,
        ),
    ),
)

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
        Panel(
            title="Connections closed by the authority",
            help="By reason: too many in all, too many from one address, or refused. A surge is a "
            "client that opens one a request, or somebody who tries to use them up.",
            unit="short",
            queries=(
                q(
                    rate("authority_connections_closed_total", OF_INSTANCE, "region", "reason"),
                    "{{region}} {{reason}}",
                ),
            ),
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
    (_STATE, _REQUESTS, _PROCESS),
)
