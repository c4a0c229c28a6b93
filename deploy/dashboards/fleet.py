"""Fleet: regions side by side."""

from __future__ import annotations

from deploy.dashboards.model import Board, Row, graph, q, stat, table
from deploy.dashboards.shared import MARKS, OF_REGION, REGIONS, quantile, rate

PIN_WORDS = (("0", "broken", "red"), ("0.5", "unauthenticated", "orange"), ("1", "matches", "green"))
_SAME_NAME = "Region by region, since each has its own worker, broker, database and keys."

_NOW = Row(
    "Now",
    (
        stat(
            "Instances",
            "Worker endpoints that answer Prometheus. A region without one is not being encrypted at all: look at "
            "its pods or units first.",
            "short",
            q(f"count by (region) (worker_build_info{OF_REGION})", "{{region}}"),
            steps=((None, "red"), (1, "green")),
            width=4,
            height=5,
            runbook="worker-down",
        ),
        stat(
            "Records/s",
            "Records that are durable in a sink, of all routes. 0 beside a growing lag means that nothing moves.",
            "short",
            q(rate("worker_records_total", OF_REGION, "region"), "{{region}}"),
            width=4,
            height=5,
            runbook="worker-no-progress",
        ),
        stat(
            "Time to drain",
            "Lag divided by what has been finished a second lately: how long until the region is up to date if "
            "nothing more arrives. Beyond a few minutes look at what limits the worker (Worker dashboard).",
            "s",
            q(f"max by (region) (region_route:worker_drain:seconds{OF_REGION})", "{{region}}"),
            steps=((None, "green"), (300, "orange"), (3600, "red")),
            width=4,
            height=5,
            runbook="worker-lag-growing",
        ),
        stat(
            "Worst pin",
            "Whether workspace, key service, clusters, registry and database are the region's own. Broken stops "
            "the worker; unauthenticated means that only the other side's word was had for it.",
            "short",
            q(f"min by (region) (worker_region_pin{OF_REGION})", "{{region}}"),
            steps=((None, "red"), (0.5, "orange"), (1, "green")),
            words=PIN_WORDS,
            width=4,
            height=5,
            runbook="worker-pin-broken",
        ),
        stat(
            "Dead letters, last hour",
            "Records sealed into the dead letters. Any is worth a look: `worker dead list` names them.",
            "short",
            q(f"sum by (region) (increase(worker_dead_letters_total{OF_REGION}[1h]))", "{{region}}"),
            steps=((None, "green"), (1, "orange"), (100, "red")),
            width=4,
            height=5,
            runbook="worker-dead-letters",
        ),
        stat(
            "Alerts firing",
            "Alerts of this product that fire now. Each has a page: open it from the alert.",
            "short",
            q(
                'sum by (region) (ALERTS{alertname=~"Worker.+|Authority.+",alertstate="firing",region=~"$region"})'
                f" or 0 * count by (region) (worker_build_info{OF_REGION})",
                "{{region}}",
            ),
            steps=((None, "green"), (1, "red")),
            width=4,
            height=5,
        ),
    ),
)

_FLOW = Row(
    "Throughput and freshness",
    (
        graph(
            "Records read and finished",
            "What enters and what is durable. Finished below read for long means that a sink or the keys limit. "
            + _SAME_NAME,
            "short",
            q(rate("worker_source_records_total", OF_REGION, "region"), "{{region}} read"),
            q(rate("worker_records_total", OF_REGION, "region"), "{{region}} finished"),
            runbook="worker-no-progress",
        ),
        graph(
            "Bytes read and written",
            "Keys and values; what is written is larger by about 130 bytes for each encrypted value. " + _SAME_NAME,
            "Bps",
            q(rate("worker_source_bytes_total", OF_REGION, "region"), "{{region}} read"),
            q(rate("worker_sink_bytes_total", OF_REGION, "region"), "{{region}} written"),
        ),
        graph(
            "Lag",
            "Records between the end of the source and what is durable, over all partitions. An idle "
            "transactional topic rests at 1 a partition.",
            "short",
            q(f"sum by (region) (worker_lag_records{OF_REGION})", "{{region}}"),
            runbook="worker-lag-growing",
        ),
        graph(
            "From record to commit, 99th percentile",
            "From a record's own timestamp until it is durable. It counts a backlog's age too: after an outage it "
            "falls as the backlog is drained.",
            "s",
            q(quantile(0.99, "worker_end_to_end_seconds", OF_REGION, "region"), "{{region}}"),
            steps=((None, "green"), (60, "red")),
            runbook="worker-freshness-budget-burn",
        ),
        graph(
            "Share of records fresh within a minute",
            "The freshness objective: 99 % of the records are durable within 60 s. Below it the error budget burns.",
            "percentunit",
            q(f"1 - region_route:worker_freshness_errors:ratio_rate5m{OF_REGION}", "{{region}} {{route}}"),
            steps=((None, "red"), (0.99, "green")),
            runbook="worker-freshness-budget-burn",
        ),
        graph(
            "Paused partitions",
            "What is away, or who paused the route. It resumes by itself, except after `worker pause`.",
            "short",
            q(
                f"sum by (region, reason) (worker_paused_partitions{OF_REGION}) > 0"
                f" or 0 * sum by (region) (worker_assigned_partitions{OF_REGION})",
                "{{region}} {{reason}}",
            ),
            runbook="worker-paused",
        ),
    ),
)

_HEALTH = Row(
    "Health",
    (
        graph(
            "Memory",
            "Resident memory of all processes of a region. The bound is in the sizing page; above it suspect very "
            "large records.",
            "bytes",
            q(
                'sum by (region, instance) (process_resident_memory_bytes{region=~"$region",region!=""})',
                "{{region}} {{instance}}",
            ),
        ),
        graph(
            "Processor",
            "Cores in use. A process uses little more than one: a region that needs more takes more processes or "
            "pods, up to its number of partitions.",
            "short",
            q(
                "sum by (region, instance) "
                '(rate(process_cpu_seconds_total{region=~"$region",region!=""}[$__rate_interval]))',
                "{{region}} {{instance}}",
            ),
        ),
        graph(
            "Process restarts, last hour",
            "Processes of `--processes N` started again after a crash. The log's `process_ended` says why.",
            "short",
            q(
                f"sum by (region) (increase(worker_process_restarts_total{OF_REGION}[1h]))"
                f" or 0 * count by (region) (worker_build_info{OF_REGION})",
                "{{region}}",
            ),
            steps=((None, "green"), (1, "red")),
            runbook="worker-crash-loop",
        ),
        table(
            "Versions",
            "What runs where. Two versions in one region for longer than a rolling update: a rollout that hangs.",
            "short",
            q(f"count by (region, version, native) (worker_build_info{OF_REGION})"),
            width=12,
        ),
        graph(
            "Refused by the authority",
            "Requests that the authority did not grant, by answer. 401 and 403: identity or grant; 429: quota; "
            "5xx and unreachable: the authority itself.",
            "reqps",
            q(
                'sum by (region, outcome) (rate(worker_authority_requests_total{region=~"$region",outcome!="200"}'
                "[$__rate_interval])) > 0"
                f" or 0 * count by (region) (worker_build_info{OF_REGION})",
                "{{region}} {{outcome}}",
            ),
            width=12,
            runbook="worker-authority-errors",
        ),
    ),
)

BOARD = Board(
    "residency-fleet",
    "Residency / Fleet",
    "Every region's worker side by side: throughput, freshness, health, pins.",
    (REGIONS,),
    MARKS,
    (_NOW, _FLOW, _HEALTH),
)
