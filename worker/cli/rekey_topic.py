"""`worker rekey --topic`: into another topic."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import orjson

from worker.assembly.graph import Graph
from worker.authority.files import whole
from worker.avro import parse_frame
from worker.cli import summary
from worker.cli.rekey_call import Call
from worker.cli.sources import schema_text
from worker.errors import ConfigError, RecordError, WorkerError
from worker.kafka.whole import ends_of, read_batches
from worker.model import Position, SourceRecord, batch_of, records_of
from worker.pipeline.progress import RouteProgress
from worker.rekey.batches import RekeyProcessor
from worker.rekey.census import Census, told
from worker.rekey.pace import Pace
from worker.rekey.stored import StoredSchemas
from worker.rekey.topic import Handover, TopicRekey, refuse_pseudonyms, rekey_route, settings_of, stored_schemas

_SAMPLE = 5


def run(call: Call, topic: str, into: str | None, handover: Path | None) -> bool:
    """Do what the call says to a topic; returns whether all is as wanted."""
    if call.graph is None:
        raise ConfigError("give --config: which cluster is the topic in, and which region's?")
    if topic.endswith(".dead"):
        raise ConfigError(
            f"{topic} holds dead letters, sealed under [dead_letters] keyset: replay them (worker dead replay) while "
            "the old keyset can still be used; what fails again is sealed under the keyset that the settings name then"
        )
    every, pace = call.graph.settings.routes, Pace(call.rate)
    if into is None and call.mode != "verify":
        raise ConfigError("give --into: a topic can't be changed in place; its readers change over to a new one")
    route = rekey_route(call.graph.settings, topic, into or f"{topic}.rekeyed")
    graph = call.narrow(settings_of(call.graph.settings, route, pace.most(1_000_000) if call.rate else None))
    if call.mode == "rekey" and not call.keeps_pseudonyms:
        refuse_pseudonyms(graph, topic, every)
    text = None if call.schema is None else schema_text(call.schema)
    schemas = stored_schemas(graph, call.wanted, route, text)
    if call.mode == "verify":
        return _verify(call, graph, into or topic, schemas)
    processor = RekeyProcessor(schemas, call.way, keep=call.keep, most=call.most, refused=_refused(call), pace=pace)
    if call.mode == "estimate":
        return _estimate(call, graph, topic, processor)
    work = TopicRekey(graph, processor)
    work.check()
    with summary.bars(shown=not call.json) as move:
        progress = work.run(call.stop, lambda found: move(summary.offsets_done([found])))
    return _tell(call, work, progress, processor.kept, handover)


def _tell(call: Call, work: TopicRekey, progress: RouteProgress, kept: int, path: Path | None) -> bool:
    done = progress.is_complete
    found: dict[str, object] = {
        **summary.counts(progress.outcomes, call.watch.seconds),
        "kept": kept,
        "complete": done,
    }
    if done:
        handover = work.handover(progress)
        if path is not None:
            _write(path, handover)
        found |= handover.as_json() if call.json else {"handover": _places(handover)}
    call.tell(found, "done" if done else "interrupted; call it again to continue")
    return done and not kept


def _places(handover: Handover) -> str:
    return ", ".join(f"[{p.partition}] {p.source_offset} is {p.target_offset}" for p in handover.partitions)


def _write(path: Path, handover: Handover) -> None:
    with whole(path, mode=0o666) as file:
        file.write(orjson.dumps(handover.as_json(), option=orjson.OPT_INDENT_2) + b"\n")


def _refused(call: Call) -> Callable[[Position, WorkerError], None]:
    def tell(at: Position, error: WorkerError) -> None:
        call.refused({"topic": at.topic, "partition": at.partition, "offset": at.offset}, error)

    return tell


def _verify(call: Call, graph: Graph, topic: str, schemas: StoredSchemas) -> bool:
    counted: dict[str, Census] = {}
    broken = 0

    for batch in read_batches(topic, graph.connection, cluster_id=graph.settings.kafka.cluster_id):
        by_schema: dict[str, list[tuple[SourceRecord, int]]] = {}
        for record in records_of(batch):
            if record.value is None:
                continue
            try:
                ref, start = parse_frame(record.value, record.headers)
                stored = schemas.text(ref)
                counted.setdefault(stored, Census(schemas.marks(ref, call.marks), stored))
            except RecordError:
                broken += 1
                continue
            by_schema.setdefault(stored, []).append((record, start))
        for stored, found in by_schema.items():
            counted[stored].add_datums([(r.value or b"")[s:] for r, s in found], [r.key for r, _ in found])
    others = broken + sum(census.others for census in counted.values())
    lines = [line for census in counted.values() for line in told(census.lines())]
    summed: dict[str, object] = {"topic": topic, "others": others, "fields": lines}
    call.tell(summed, f"values of {topic} by keyset, {others} not as wanted")
    return others == 0


def _estimate(call: Call, graph: Graph, topic: str, processor: RekeyProcessor) -> bool:
    cluster = graph.settings.kafka.cluster_id
    total = sum(ends_of(topic, graph.connection, cluster_id=cluster).values())
    sampled, spent, first = 0, 0.0, 0
    for batch in islice(read_batches(topic, graph.connection, cluster_id=cluster), _SAMPLE):
        records, watch = list(records_of(batch)), summary.Stopwatch()
        processor.process(batch_of(records))
        # What the first one needs, the keys above all, the others have.
        spent += watch.seconds if sampled else 0.0
        first = first or len(records)
        sampled += len(records)
    each = spent / (sampled - first) if sampled > first else 0.0
    seconds = total * max(each, 1 / call.rate if call.rate else 0.0)
    found = {"topic": topic, "records": total, "sample": sampled, "kept": processor.kept, "seconds": round(seconds, 1)}
    call.tell(found, f"{topic}: an estimate, nothing was written")
    return processor.kept == 0
