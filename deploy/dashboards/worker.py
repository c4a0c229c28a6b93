"""Worker: one region in depth."""

from __future__ import annotations

from deploy.dashboards.model import Board, Row, graph, q, table
from deploy.dashboards.shared import INSTANCES, MARKS, OF_INSTANCE, OF_ROUTE, REGION, ROUTES, quantile, rate, some

_PACE = Row(
    "Does it keep up",
    (
        graph(
            "Records read and finished",
            "Read counts what is read again after a rebalance or a retry. Finished below read for long means that "
            "a stage below limits.",
            "short",
            q(rate("worker_source_records_total", OF_ROUTE, "route"), "{{route}} read"),
            q(rate("worker_records_total", OF_ROUTE, "route"), "{{route}} finished"),
            runbook="worker-no-progress",
        ),
        graph(
            "What became of records",
            "Encrypted is the rule; `passed` records declare nothing, tombstones have no value, dead ones are in "
            "the dead letters.",
            "short",
            q(some("worker_records_total", OF_ROUTE, "route", "outcome"), "{{route}} {{outcome}}"),
            runbook="worker-dead-letters",
        ),
        graph(
            "Lag by partition",
            "One partition far above the others: a key that is written too often, or a record that takes long. "
            "All of them: the route is too slow.",
            "short",
            q(
                f"max by (route, topic, partition) (worker_lag_records{OF_ROUTE})",
                "{{route}} {{topic}}[{{partition}}]",
            ),
            runbook="worker-lag-growing",
        ),
        graph(
            "Time to drain",
            "Lag divided by what has been finished a second lately. It should fall; if it grows, add processes or "
            "pods up to the number of partitions.",
            "s",
            q('max by (route) (region_route:worker_drain:seconds{region=~"$region",route=~"$route"})', "{{route}}"),
            steps=((None, "green"), (3600, "red")),
            runbook="worker-lag-growing",
        ),
        graph(
            "From record to commit",
            "From each record's own timestamp until it is durable. The bulk of an idle route is the batch's "
            "`max_latency_ms` and one commit.",
            "s",
            q(quantile(0.5, "worker_end_to_end_seconds", OF_ROUTE, "route"), "{{route}} p50"),
            q(quantile(0.95, "worker_end_to_end_seconds", OF_ROUTE, "route"), "{{route}} p95"),
            q(quantile(0.99, "worker_end_to_end_seconds", OF_ROUTE, "route"), "{{route}} p99"),
            steps=((None, "green"), (60, "red")),
            runbook="worker-freshness-budget-burn",
        ),
        graph(
            "Backlog of a bounded run",
            "Offsets that a run with an end (--until-end, --to) has still to pass. 0 in an endless run.",
            "short",
            q(f"sum by (route) (worker_backlog_records{OF_ROUTE})", "{{route}}"),
        ),
    ),
)

_LIMITS = Row(
    "What limits it",
    (
        graph(
            "Busy time by stage",
            "Seconds a second spent in each stage: the one near 1 limits its thread. Polling has a thread of its "
            "own; decode, encrypt, sink and commit share the other one of the route and process.",
            "percentunit",
            q(rate("worker_stage_seconds_sum", OF_ROUTE, "route", "stage"), "{{route}} {{stage}}"),
            stacked=True,
            width=12,
            runbook="worker-lag-growing",
        ),
        graph(
            "Time of a batch by stage, 99th percentile",
            "Long sink or commit: the broker or the database. Long encrypt: look at the waits for keys.",
            "s",
            q(quantile(0.99, "worker_stage_seconds", OF_ROUTE, "route", "stage"), "{{route}} {{stage}}"),
            width=12,
        ),
        graph(
            "Waiting for keys",
            "Seconds a second that encryption waited for the authority, part of the encrypt stage. Above 0.2 the "
            "keys limit: see the Keys dashboard.",
            "percentunit",
            q(rate("worker_key_wait_seconds_sum", OF_INSTANCE, "cache"), "{{cache}}"),
            steps=((None, "green"), (0.2, "red")),
            runbook="worker-key-wait",
        ),
        graph(
            "Batches",
            "Aborted: partitions were taken in mid-batch, or it is tried again. Uncertain: the broker decides, "
            "and positions are read anew. Failed ends the route.",
            "short",
            q(rate("worker_batches_total", OF_ROUTE, "route", "outcome"), "{{route}} {{outcome}}"),
        ),
        graph(
            "Records a batch",
            "Full batches (`max_records`) under load are efficient; small ones at a high lag mean that "
            "`max_latency_ms` or `max_bytes` ends them.",
            "short",
            q(
                f"{rate('worker_records_total', OF_ROUTE, 'route')} / "
                f"({rate('worker_batches_total', OF_ROUTE, 'route', outcome='committed')} > 0)",
                "{{route}}",
            ),
            may_be_empty="no batch was committed lately",
        ),
        graph(
            "Paused partitions",
            "By reason. Backpressure is normal behind a slow sink; the others name what is away.",
            "short",
            q(f"sum by (route, reason) (worker_paused_partitions{OF_ROUTE})", "{{route}} {{reason}}"),
            runbook="worker-paused",
            width=6,
        ),
        graph(
            "Values",
            "Values encrypted, by format. `record` costs three times as much as `leased` and a key for each.",
            "short",
            q(rate("worker_values_total", OF_ROUTE, "route", "format"), "{{route}} {{format}}"),
            width=6,
        ),
        graph(
            "Plaintext in, envelopes out",
            "Bytes of declared values before and after. The difference is what encryption costs the broker and "
            "the disk.",
            "Bps",
            q(rate("worker_plaintext_bytes_total", OF_ROUTE, "route"), "{{route}} plaintext"),
            q(rate("worker_ciphertext_bytes_total", OF_ROUTE, "route"), "{{route}} envelopes"),
            width=6,
        ),
        graph(
            "Bytes read and written",
            "Keys and values as they stand in the source and the sink.",
            "Bps",
            q(rate("worker_source_bytes_total", OF_ROUTE, "route"), "{{route}} read"),
            q(rate("worker_sink_bytes_total", OF_ROUTE, "route"), "{{route}} written"),
            width=6,
        ),
        graph(
            "Records in plain Python",
            "Taken over from the extension at about a tenth of its rate: `decode` what it does not read itself, bad "
            "records among it; `output` where keys become pseudonyms or topics differ.",
            "short",
            q(rate("worker_twin_records_total", OF_ROUTE, "route", "stage"), "{{route}} {{stage}}"),
            may_be_empty="the extension read every record, or is not there",
        ),
    ),
)

_KAFKA = Row(
    "Kafka, as librdkafka sees it",
    (
        graph(
            "Round trip to the slowest broker",
            "Beyond tens of milliseconds within one region a broker or the network is in trouble; the source's "
            "includes the wait for data of up to 100 ms.",
            "s",
            q(
                f"max by (route, client, percentile) (worker_kafka_round_trip_seconds{OF_ROUTE})",
                "{{route}} {{client}} {{percentile}}",
            ),
            runbook="worker-kafka-degraded",
        ),
        graph(
            "Records in librdkafka's queues",
            "Source: fetched ahead, full behind a slow sink. Sink: handed over and not acknowledged; rising means "
            "that the brokers do not keep up.",
            "short",
            q(f"sum by (route, client) (worker_kafka_queue_records{OF_ROUTE})", "{{route}} {{client}}"),
        ),
        graph(
            "Bytes in librdkafka's queues",
            "Bounded by `queue_bytes`; part of the memory bound.",
            "bytes",
            q(f"sum by (route, client) (worker_kafka_queue_bytes{OF_ROUTE})", "{{route}} {{client}}"),
        ),
        graph(
            "Throttling by the brokers",
            "A quota of the cluster holds this client back. Raise the quota of its user, or accept the lag.",
            "s",
            q(f"max by (route, client) (worker_kafka_throttle_seconds{OF_ROUTE})", "{{route}} {{client}}"),
            steps=((None, "green"), (0.1, "red")),
            runbook="worker-kafka-degraded",
        ),
        graph(
            "Connected brokers",
            "Brokers that each client has a connection to. Fewer than the cluster has is normal for a client that "
            "needs not all; 0 is an outage.",
            "short",
            q(f"min by (route, client) (worker_kafka_connected_brokers{OF_ROUTE})", "{{route}} {{client}}"),
            steps=((None, "red"), (1, "green")),
            runbook="worker-kafka-degraded",
        ),
        graph(
            "Faults",
            "Requests that timed out or were sent again, and connections lost. A few around a broker's restart "
            "are normal.",
            "short",
            q(
                rate("worker_kafka_faults_total", OF_ROUTE, "route", "client", "fault"),
                "{{route}} {{client}} {{fault}}",
            ),
            runbook="worker-kafka-degraded",
        ),
        graph(
            "Bytes on the wire",
            "To and from brokers, compressed. Across zones or regions this is what is paid for.",
            "Bps",
            q(
                rate("worker_kafka_bytes_total", OF_ROUTE, "route", "client", "direction"),
                "{{route}} {{client}} {{direction}}",
            ),
        ),
        graph(
            "Rebalances, last 15 minutes",
            "How often the group gave or took partitions. More than a few: a member comes and goes, or a batch "
            "takes longer than `rebalance_s`.",
            "short",
            q(
                f"sum by (route, change) (increase(worker_rebalances_total{OF_ROUTE}[15m]))",
                "{{route}} {{change}}",
            ),
            runbook="worker-rebalance-storm",
        ),
        graph(
            "Transactions",
            "Aborted ones leave nothing visible and are tried again. Fenced: two processes have one name.",
            "short",
            q(rate("worker_transactions_total", OF_ROUTE, "route", "outcome"), "{{route}} {{outcome}}"),
            runbook="worker-kafka-degraded",
        ),
    ),
)

_PROCESS = Row(
    "Processes",
    (
        graph(
            "Memory",
            "Resident memory by process. The bound is in the sizing page.",
            "bytes",
            q(
                f"sum by (instance, process) (process_resident_memory_bytes{OF_INSTANCE})",
                "{{instance}} {{process}}",
            ),
        ),
        graph(
            "Processor",
            "Cores in use by process. At 1 a process is full: give the route more processes or pods.",
            "short",
            q(rate("process_cpu_seconds_total", OF_INSTANCE, "instance", "process"), "{{instance}} {{process}}"),
        ),
        graph(
            "Open files",
            "Share of what the system allows. Each broker, request and connection to a database is one.",
            "percentunit",
            q(
                f"max by (instance, process) (process_open_fds{OF_INSTANCE} / process_max_fds{OF_INSTANCE})",
                "{{instance}} {{process}}",
            ),
            steps=((None, "green"), (0.8, "red")),
        ),
        graph(
            "Partitions assigned",
            "By route and instance. An instance with 0 has nothing to do: there are more of them than partitions.",
            "short",
            q(f"sum by (route, instance) (worker_assigned_partitions{OF_ROUTE})", "{{route}} {{instance}}"),
        ),
        graph(
            "Process restarts, last hour",
            "Processes started again after a crash, of `--processes N`; a pod's own restarts are Kubernetes'.",
            "short",
            q(
                f"sum by (instance) (increase(worker_process_restarts_total{OF_INSTANCE}[1h]))"
                f" or 0 * count by (instance) (worker_build_info{OF_INSTANCE})",
                "{{instance}}",
            ),
            steps=((None, "green"), (1, "red")),
            runbook="worker-crash-loop",
        ),
        table(
            "Schemas in use",
            "Registered schemas that records have named since the start. An old number that stays is a producer "
            "that was not updated.",
            "short",
            q(f"count by (route, schema) (worker_schema_info{OF_ROUTE})"),
        ),
    ),
)

BOARD = Board(
    "residency-worker",
    "Residency / Worker",
    "One region in depth: does it keep up, which stage limits it, Kafka, memory.",
    (REGION, ROUTES, INSTANCES),
    MARKS,
    (_PACE, _LIMITS, _KAFKA, _PROCESS),
)
