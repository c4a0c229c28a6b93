"""One worker process of the fault suite: the real source, loop and sinks over copies, told by JSON; see `Spec`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tests.fakes.pipeline import PlainLetters
from worker import failpoints, log
from worker.errors import WorkerError
from worker.kafka_properties import connection_properties
from worker.metrics import Metrics
from worker.model import SinkRecord, SourceRecord
from worker.pipeline.health import RouteHealth
from worker.pipeline.job import Processed
from worker.pipeline.options import DeliveryOptions
from worker.pipeline.runner import Bounds, RouteRunner
from worker.sink.base import Sink
from worker.sink.kafka import KafkaSink, KafkaSinkOptions
from worker.sink.postgres import PostgresSink, PostgresSinkOptions
from worker.source.kafka import KafkaSource
from worker.source.options import SourceOptions

REGION = "eu-central-1"


@dataclass(frozen=True)
class Spec:
    """What a member reads and writes; `dsn` empty means a Kafka sink."""

    bootstrap: str
    cluster_id: str
    properties: dict[str, str]
    source: str
    sink: str
    instance: str
    mode: str = "exactly-once"
    assignment: str = "cooperative"
    dsn: str = ""
    bounded: bool = False
    max_records: int = 200


class Rows:
    """Copies records, and gives each a row for tables."""

    def process(self, records: Sequence[SourceRecord]) -> Processed:
        return Processed(
            [
                SinkRecord(
                    r.position,
                    r.key,
                    r.value,
                    r.headers,
                    r.timestamp_type,
                    r.timestamp_ms,
                    {"id": int(r.value or b"-1"), "lane": int(r.key or b"-1")},
                )
                for r in records
            ]
        )


def build(spec: Spec) -> RouteRunner:
    """Build the member's loop."""
    metrics = Metrics(REGION)
    group = f"group-{spec.source}-{spec.sink}"
    source = KafkaSource(
        SourceOptions.model_validate({"topics": (spec.source,), "assignment": spec.assignment, "session_timeout_s": 6}),
        bootstrap=spec.bootstrap,
        group=group,
        instance=spec.instance,
        properties=spec.properties,
        cluster_id=spec.cluster_id,
        bounded=spec.bounded,
    )
    return RouteRunner(
        source,
        Rows(),
        _sink(spec, group, source, metrics),
        PlainLetters(),
        options=DeliveryOptions.model_validate(
            {"mode": spec.mode, "max_records": spec.max_records, "max_latency_ms": 20, "stop_s": 15}
        ),
        health=RouteHealth("r"),
        metrics=metrics,
        bounds=Bounds() if spec.bounded else None,
    )


def _sink(spec: Spec, group: str, source: KafkaSource, metrics: Metrics) -> Sink:
    if spec.dsn:
        return PostgresSink(
            PostgresSinkOptions(table=spec.sink),
            dsn=spec.dsn,
            region=REGION,
            group=group,
            cluster_id=spec.cluster_id,
            topic_ids=source.topic_id,
            instance=spec.instance,
            route="r",
            metrics=metrics,
        )
    return KafkaSink(
        KafkaSinkOptions(topic=spec.sink, ledger=False),
        transactional_id=f"{group}.{spec.instance}" if spec.mode == "exactly-once" else None,
        properties=connection_properties(spec.bootstrap, spec.properties),
        metrics=metrics,
        region=REGION,
        route="r",
        source_topics=(spec.source,),
    )


def main() -> int:
    """Run until SIGTERM, the bounds, or an error; returns the exit code."""
    failpoints.arm(os.environ.get("FAILPOINTS", ""))
    log.configure(region=REGION, level="warning", form="json")
    runner = build(Spec(**json.loads(sys.argv[1])))
    signal.signal(signal.SIGTERM, lambda *_: runner.stop())
    try:
        runner.run()
    except WorkerError as exc:
        sys.stderr.write(f"{type(exc).__name__}: {exc}\n")
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
