"""Worker: one region in depth."""

from __future__ import annotations

from deploy.dashboards.model import Board, Panel, Row, q
from deploy.dashboards.shared import INSTANCES, MARKS, OF_INSTANCE, OF_ROUTE, REGION, ROUTES, quantile, rate

_PACE = Row(
    "Does it keep up",
    (
        Panel(
            title="Records read and finished",
            help="Read counts what is read again after a rebalance or a retry. Finished below read for long means that "
            "a stage below limits.",
            unit="short",
            queries=(
                q(rate("worker_source_records_total", OF_ROUTE, "route"), "{{route}} read"),
                q(rate("worker_records_total", OF_ROUTE, "route"), "{{route}} finished"),
            ),
            runbook="worker-no-progress",
        ),
        Panel(
            title="What became of records",
            help="Encrypted is the rule; `passed` records declare nothing, tombstones have no value, dead ones are in "
            "the dead letters.",
            unit="short",
            queries=(q(rate("worker_records_total", OF_ROUTE, "route", "outcome"), "{{route}} {{outcome}}"),),
            runbook="worker-dead-letters",
        ),
        Panel(
            title="Lag by partition",
            help="One partition far above the others: a key that is written too often, or a record that takes long. "
            "All of them: the route is too slow.",
            unit="short",
            queries=(
                q(
                    f"max by (route, topic, partition) (worker_lag_records{OF_ROUTE})",
                    "{{route}} {{topic}}[{{partition}}]",
                ),
            ),
            runbook="worker-lag-growing",
        ),
        Panel(
            title="Time to drain",
            help="Lag divided by what has been finished a second lately. It should fall; if it grows, add processes or "
            "pods up to the number of partitions.",
            unit="s",
            queries=(
                q('max by (route) (region_route:worker_drain:seconds{region=~"$region",route=~"$route"})', "{{route}}"),
            ),
            steps=((None, "green"), (3600, "red")),
            runbook="worker-lag-growing",
        ),
        Panel(
            title="From record to commit",
            help="From each record's own timestamp until it is durable. The bulk of an idle route is the batch's "
            "`max_latency_ms` and one commit.",
            unit="s",
            queries=(
                q(quantile(0.5, "worker_end_to_end_seconds", OF_ROUTE, "route"), "{{route}} p50"),
                q(quantile(0.95, "worker_end_to_end_seconds", OF_ROUTE, "route"), "{{route}} p95"),
                q(quantile(0.99, "worker_end_to_end_seconds", OF_ROUTE, "route"), "{{route}} p99"),
            ),
            steps=((None, "green"), (60, "red")),
            runbook="worker-freshness-budget-burn",
        ),
        Panel(
            title="Backlog of a bounded run",
            help="Offsets that a run with an end (--until-end, --to) has still to pass. 0 in an endless run.",
            unit="short",
            queries=(q(f"sum by (route) (worker_backlog_records{OF_ROUTE})", "{{route}}"),),
        ),
    ),
)

_LIMITS = Row(
    "What limits it",
    (
        Panel(
            title="Busy time by stage",
            help="Seconds a second spent in each stage: the one near 1 limits its thread. Polling has a thread of its "
            "own; decode, encrypt, sink and commit share the other one of the route and process.",
            unit="percentunit",
            queries=(q(rate("worker_stage_seconds_sum", OF_ROUTE, "route", "stage"), "{{route}} {{stage}}"),),
            stacked=True,
            width=12,
            runbook="worker-lag-growing",
        ),
        Panel(
            title="Time of a batch by stage, 99th percentile",
            help="Long sink or commit: the broker or the database. Long encrypt: look at the waits for keys.",
            unit="s",
            queries=(q(quantile(0.99, "worker_stage_seconds", OF_ROUTE, "route", "stage"), "{{route}} {{stage}}"),),
            width=12,
        ),
        Panel(
            title="Waiting for keys",
            help="Seconds a second that encryption waited for the authority, part of the encrypt stage. Above 0.2 the "
            "keys limit: see the Keys dashboard.",
            unit="percentunit",
            queries=(q(rate("worker_key_wait_seconds_sum", OF_INSTANCE, "cache"), "{{cache}}"),),
            steps=((None, "green"), (0.2, "red")),
            runbook="worker-key-wait",
        ),
        Panel(
            title="Batches",
            help="Aborted: partitions were taken in mid-batch, or it is tried again. Uncertain: the broker decides, "
            "and positions are read anew. Failed ends the route.",
            unit="short",
            queries=(q(rate("worker_batches_total", OF_ROUTE, "route", "outcome"), "{{route}} {{outcome}}"),),
        ),
        Panel(
            title="Records a batch",
            help="Full batches (`max_records`) under load are efficient; small ones at a high lag mean that "
            "`max_latency_ms` or `max_bytes` ends them.",
            unit="short",
            queries=(
                q(
                    f"{rate('worker_records_total', OF_ROUTE, 'route')} / "
                    f"({rate('worker_batches_total', OF_ROUTE, 'route', outcome='committed')} > 0)",
                    "{{route}}",
                ),
            ),
            may_be_empty="no batch was committed lately",
        ),
        Panel(
            title="Paused partitions",
            help="By reason. Backpressure is normal behind a slow sink; the others name what is away.",
            unit="short",
            queries=(q(f"sum by (route, reason) (worker_paused_partitions{OF_ROUTE})", "{{route}} {{reason}}"),),
            runbook="worker-paused",
        ),
        Panel(
            title="Values",
            help="Values encrypted, by format. `record` costs three times as much as `leased` and a key for each.",
            unit="short",
            queries=(q(rate("worker_values_total", OF_ROUTE, "route", "format"), "{{route}} {{format}}"),),
        ),
        Panel(
            title="Plaintext in, envelopes out",
            help="Bytes of declared values before and after. The difference is what encryption costs the broker and "
            "the disk.",
            unit="Bps",
            queries=(
                q(rate("worker_plaintext_bytes_total", OF_ROUTE, "route"), "{{route}} plaintext"),
                q(rate("worker_ciphertext_bytes_total", OF_ROUTE, "route"), "{{route}} envelopes"),
            ),
        ),
        Panel(
            title="Bytes read and written",
            help="Keys and values as they stand in the source and the sink.",
            unit="Bps",
            queries=(
                q(rate("worker_source_bytes_total", OF_ROUTE, "route"), "{{route}} read"),
                q(rate("worker_sink_bytes_total", OF_ROUTE, "route"), "{{route}} written"),
            ),
        ),
    ),
)

_KAFKA = Row(
    "Kafka, as librdkafka sees it",
    (
        Panel(
            title="Round trip to the slowest broker",
            help="Beyond tens of milliseconds within one region a broker or the network is in trouble; the source's "
            "includes the wait for data of up to 100 ms.",
            unit="s",
            queries=(
                q(
                    f"max by (route, client, percentile) (worker_kafka_round_trip_seconds{OF_ROUTE})",
                    "{{route}} {{client}} {{percentile}}",
                ),
            ),
            runbook="worker-kafka-degraded",
        ),
        Panel(
            title="Records in librdkafka's queues",
            help="Source: fetched ahead, full behind a slow sink. Sink: handed over and not acknowledged; rising means "
            "that the brokers do not keep up.",
            unit="short",
            queries=(q(f"sum by (route, client) (worker_kafka_queue_records{OF_ROUTE})", "{{route}} {{client}}"),),
        ),
        Panel(
            title="Bytes in librdkafka's queues",
            help="Bounded by `queue_bytes`; part of the memory bound.",
            unit="bytes",
            queries=(q(f"sum by (route, client) (worker_kafka_queue_bytes{OF_ROUTE})", "{{route}} {{client}}"),),
        ),
        Panel(
            title="Throttling by the brokers",
            help="A quota of the cluster holds this client back. Raise the quota of its user, or accept the lag.",
            unit="s",
            queries=(q(f"max by (route, client) (worker_kafka_throttle_seconds{OF_ROUTE})", "{{route}} {{client}}"),),
            steps=((None, "green"), (0.1, "red")),
            runbook="worker-kafka-degraded",
        ),
        Panel(
            title="Connected brokers",
            help="Brokers that each client has a connection to. Fewer than the cluster has is normal for a client that "
            "needs not all; 0 is an outage.",
            unit="short",
            queries=(q(f"min by (route, client) (worker_kafka_connected_brokers{OF_ROUTE})", "{{route}} {{client}}"),),
            steps=((None, "red"), (1, "green")),
            runbook="worker-kafka-degraded",
        ),
        Panel(
            title="Faults",
            help="Requests that timed out or were sent again, and connections lost. A few around a broker's restart "
            "are normal.",
            unit="short",
            queries=(
                q(
                    rate("worker_kafka_faults_total", OF_ROUTE, "route", "client", "fault"),
                    "{{route}} {{client}} {{fault}}",
                ),
            ),
            runbook="worker-kafka-degraded",
        ),
        Panel(
            title="Bytes on the wire",
            help="To and from brokers, compressed. Across zones or regions this is what is paid for.",
            unit="Bps",
            queries=(
                q(
                    rate("worker_kafka_bytes_total", OF_ROUTE, "route", "client", "direction"),
                    "{{route}} {{client}} {{direction}}",
                ),
            ),
        ),
        Panel(
            title="Rebalances, last 15 minutes",
            help="How often the group gave or took partitions. More than a few: a member comes and goes, or a batch "
            "takes longer than `rebalance_s`.",
            unit="short",
            queries=(
                q(
                    f"sum by (route, change) (increase(worker_rebalances_total{OF_ROUTE}[15m]))",
                    "{{route}} {{change}}",
                ),
            ),
            runbook="worker-rebalance-storm",
        ),
        Panel(
            title="Transactions",
            help="Aborted ones leave nothing visible and are tried again. Fenced: two processes have one name.",
            unit="short",
            queries=(q(rate("worker_transactions_total", OF_ROUTE, "route", "outcome"), "{{route}} {{outcome}}"),),
            runbook="worker-kafka-degraded",
        ),
    ),
)

_PROCESS = Row(
    "Processes",
    (
        Panel(
            title="Memory",
            help="Resident memory by process. The bound is in the sizing page.",
            unit="bytes",
            queries=(
                q(
                    f"sum by (instance, process) (process_resident_memory_bytes{OF_INSTANCE})",
                    "{{instance}} {{process}}",
                ),
            ),
        ),
        Panel(
            title="Processor",
            help="Cores in use by process. At 1 a process is full: give the route more processes or pods.",
            unit="short",
            queries=(
                q(rate("process_cpu_seconds_total", OF_INSTANCE, "instance", "process"), "{{instance}} {{process}}"),
            ),
        ),
        Panel(
            title="Open files",
            help="Share of what the system allows. Each broker, request and connection to a database is one.",
            unit="percentunit",
            queries=(
                q(
                    f"max by (instance, process) (process_open_fds{OF_INSTANCE} / process_max_fds{OF_INSTANCE})",
                    "{{instance}} {{process}}",
                ),
            ),
            steps=((None, "green"), (0.8, "red")),
        ),
        Panel(
            title="Partitions assigned",
            help="By route and instance. An instance with 0 has nothing to do: there are more of them than partitions.",
            unit="short",
            queries=(q(f"sum by (route, instance) (worker_assigned_partitions{OF_ROUTE})", "{{route}} {{instance}}"),),
        ),
        Panel(
            title="Process restarts, last hour",
            help="Processes started again after a crash, of `--processes N`; a pod's own restarts are Kubernetes'.",
            unit="short",
            queries=(
                q(
                    f"sum by (instance) (increase(worker_process_restarts_total{OF_INSTANCE}[1h]))"
                    f" or 0 * count by (instance) (worker_build_info{OF_INSTANCE})",
                    "{{instance}}",
                ),
            ),
            steps=((None, "green"), (1, "red")),
            runbook="worker-crash-loop",
        ),
        Panel(
            title="Schemas in use",
            help="Registered schemas that records have named since the start. An old number that stays is a producer "
            "that was not updated.",
            unit="short",
            kind="table",
            queries=(q(f"count by (route, schema) (worker_schema_info{OF_ROUTE})"),),
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
