"""Authority: the self-hosted key service of each region."""

from __future__ import annotations

from deploy.dashboards.model import Board, Row, graph, q, stat, states, table
from deploy.dashboards.shared import AUTHORITIES, AUTHORITY_INSTANCES, OF_INSTANCE, quantile, rate, some

_OF_KEYS = OF_INSTANCE.removesuffix("}") + ',endpoint=~"(generate|retrieve)-data-key.*"}'

_STATE = Row(
    "State",
    (
        states(
            "Ready",
            "Each part, tried at every scrape: the store is whole, the audit trail can be written, a key can be "
            "derived. A part that is not sound refuses all keys.",
            "short",
            q(f"min by (region, part) (authority_ready{OF_INSTANCE})", "{{region}} {{part}}"),
            steps=((None, "red"), (1, "green")),
            words=(("0", "not sound", "red"), ("1", "sound", "green")),
            width=8,
            runbook="authority-not-ready",
        ),
        stat(
            "Clients",
            "Clients enrolled. Workers and readers have one each; more than you know of is worth a question.",
            "short",
            q(f"max by (region) (authority_clients{OF_INSTANCE})", "{{region}}"),
            width=4,
        ),
        stat(
            "Keysets",
            "Keysets, disabled ones included. Grants are given per keyset.",
            "short",
            q(f"max by (region) (authority_keysets{OF_INSTANCE})", "{{region}}"),
            width=4,
        ),
        stat(
            "Disk free",
            "Where the store and the audit trail lie. Without room for an audit line no key is given.",
            "bytes",
            q(f"min by (region) (authority_disk_free_bytes{OF_INSTANCE})", "{{region}}"),
            steps=((None, "red"), (1 << 30, "orange"), (5 << 30, "green")),
            width=4,
            runbook="authority-disk",
        ),
        stat(
            "Last backup",
            "How long ago the store was last backed up, by whichever of its replicas. Above a day the job that "
            "does it fails; without one a lost store takes its keysets with it.",
            "s",
            q(
                f"time() - (max by (region) (authority_backup_timestamp_seconds{OF_INSTANCE}) > 0)"
                f" or max by (region) (authority_backup_timestamp_seconds{OF_INSTANCE}) - 1",
                "{{region}}",
            ),
            steps=((None, "red"), (0, "green"), (26 * 3600, "red")),
            words=(("-1", "never", "red"),),
            width=4,
            runbook="authority-backup-stale",
        ),
        table(
            "Versions",
            "What runs where; two versions in one region are a rollout that hangs.",
            "short",
            q(f"count by (region, version) (authority_build_info{OF_INSTANCE})"),
            width=24,
            height=4,
        ),
    ),
)

_REQUESTS = Row(
    "Requests",
    (
        graph(
            "Requests by endpoint",
            "What clients ask. Keys for writing: generate-data-key; for reading: retrieve-data-key-fallible.",
            "reqps",
            q(some("authority_requests_total", OF_INSTANCE, "endpoint"), "{{region}} {{endpoint}}"),
        ),
        graph(
            "Requests by answer",
            "401: a token is missing or expired; 403: revoked, no grant or a disabled keyset; 429: quota; 5xx: "
            "the store or the audit trail fails.",
            "reqps",
            q(rate("authority_requests_total", OF_INSTANCE, "region", "status"), "{{region}} {{status}}"),
            runbook="authority-errors",
        ),
        graph(
            "Time of a request",
            "Of a request for keys, without the line. 500 keys take about 12 ms; more means a full processor: one "
            "process derives about 40,000 keys a second.",
            "s",
            q(quantile(0.5, "authority_request_seconds", _OF_KEYS, "endpoint"), "{{endpoint}} p50"),
            q(quantile(0.99, "authority_request_seconds", _OF_KEYS, "endpoint"), "{{endpoint}} p99"),
            runbook="authority-slow",
            may_be_empty="an endpoint was not asked lately",
        ),
        graph(
            "Keys",
            "Keys given, by operation. Retrieved keys far above what readers explain: someone reads everything.",
            "short",
            q(rate("authority_keys_total", OF_INSTANCE, "region", "operation"), "{{region}} {{operation}}"),
            width=6,
        ),
        graph(
            "Refusals",
            "Keys or requests refused: revoked clients, missing grants, keysets that are disabled, other regions' "
            "envelopes. A surge after a change is the change; a surge without one is an attempt.",
            "short",
            q(some("authority_refusals_total", OF_INSTANCE, "operation"), "{{region}} {{operation}}"),
            runbook="authority-refusals",
            width=6,
        ),
        graph(
            "Over quota",
            "Requests refused with 429. Raise the client's quota, or find out what it reads.",
            "short",
            q(
                rate("authority_quota_refusals_total", OF_INSTANCE, "region", "operation"),
                "{{region}} {{operation}}",
            ),
            runbook="authority-quota",
            width=6,
        ),
        graph(
            "Connections closed by the authority",
            "By reason: too many in all, too many from one address, or refused. A surge is a "
            "client that opens one a request, or somebody who tries to use them up.",
            "short",
            q(
                rate("authority_connections_closed_total", OF_INSTANCE, "region", "reason"),
                "{{region}} {{reason}}",
            ),
            width=6,
        ),
    ),
)

_PROCESS = Row(
    "Process",
    (
        graph(
            "Memory",
            "Resident memory. It holds the store's state, not keys; it grows with clients and keysets only.",
            "bytes",
            q(
                'sum by (region, instance) (process_resident_memory_bytes{region=~"$region",process="authority"})',
                "{{region}} {{instance}}",
            ),
        ),
        graph(
            "Processor",
            "Cores in use. Near 1 the authority is full: about 40,000 keys a second.",
            "short",
            q(
                "sum by (region, instance) (rate(process_cpu_seconds_total"
                '{region=~"$region",process="authority"}[$__rate_interval]))',
                "{{region}} {{instance}}",
            ),
            runbook="authority-slow",
        ),
        graph(
            "Open files",
            "Share of what the system allows. Each connection of a client is one.",
            "percentunit",
            q(
                "max by (region, instance) (process_open_fds"
                '{region=~"$region",process="authority"} / process_max_fds{region=~"$region",process="authority"})',
                "{{region}} {{instance}}",
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
