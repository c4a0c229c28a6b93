"""Numbered records: what is produced, where each came to lie, and what a sink must hold of it."""

from __future__ import annotations

import io
import json
import random
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import fastavro
from confluent_kafka import KafkaError, KafkaException, Producer

PARTITIONS = 6
SCHEMA_ID, OUTPUT_ID = 1, 2
_FIELDS: list[dict[str, object]] = [
    {"name": "id", "type": "long"},
    {"name": "lane", "type": "string"},
    {"name": "email", "type": "string", "encrypted": {"format": "record"}},
    {"name": "name", "type": ["null", "string"], "default": None, "encrypted": {"format": "leased", "bind": ["id"]}},
]
SCHEMA = json.dumps({"type": "record", "name": "Numbered", "namespace": "faults", "fields": _FIELDS})
_WRITER = fastavro.parse_schema(json.loads(SCHEMA))
# The first two fields are not encrypted, so they stand at the front of the input's datum and of the output's.
_FRONT = fastavro.parse_schema({"type": "record", "name": "Front", "fields": _FIELDS[:2]})
_FRAME = b"\0" + SCHEMA_ID.to_bytes(4, "big")

Kind = Literal["good", "poison", "tombstone"]


def front(value: bytes) -> tuple[str, int]:
    """Return the lane and the id of a framed datum, before or after encryption."""
    found: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), _FRONT, None)
    return found["lane"], found["id"]


class Input:
    """
    One source topic's records; `id` counts from 0, every plaintext begins with `mark`.

    Args:
        client: a producer's connection properties.
        topic: in the end with `PARTITIONS` partitions.
        seed: draws the lanes.
        lanes: how many record keys there are; a lane lies in one partition.
        tombstones: whether some records have no value.
        partitions: how many there are at first.
    """

    def __init__(
        self,
        client: dict[str, Any],
        topic: str,
        *,
        seed: int,
        lanes: int,
        tombstones: bool = False,
        partitions: int = PARTITIONS,
    ) -> None:
        self.topic, self.mark = topic, f"klartext-{seed:08x}"
        self._random = random.Random(f"{seed}/{topic}/lanes")
        self._lanes, self._tombstones = lanes, tombstones
        patience = {"message.timeout.ms": 300_000, "topic.metadata.refresh.interval.ms": 1_000}
        self._client = {**client, "enable.idempotence": True, "linger.ms": 5, **patience}
        self._offsets: list[list[int]] = [[] for _ in range(PARTITIONS)]
        self._ids: list[list[int]] = [[] for _ in range(PARTITIONS)]
        self.lane: list[int] = []
        self.lost = 0
        self._stop = threading.Event()
        self.allowed = 0
        self.partitions = partitions
        """How many there are now; the lanes of others wait."""

    @property
    def produced(self) -> int:
        """How many records the brokers have acknowledged."""
        return sum(map(len, self._ids))

    def kind(self, i: int) -> Kind:
        """What record `i` is."""
        if i % 1009 == 500:
            return "poison"
        return "tombstone" if self._tombstones and i % 53 == 7 else "good"

    def has_name(self, i: int) -> bool:
        """Whether record `i`'s leased field is not null."""
        return i % 10 != 9

    def plain(self, i: int) -> dict[str, object]:
        """Return record `i` as it must come out of a decryption."""
        return {
            "id": i,
            "lane": str(self.lane[i]),
            "email": f"{self.mark}.{i:07}@mail.example",
            "name": f"{self.mark} {i:07}" if self.has_name(i) else None,
        }

    def value(self, i: int) -> bytes | None:
        """Return record `i` as it is produced."""
        kind = self.kind(i)
        if kind == "tombstone":
            return None
        out = io.BytesIO()
        out.write(_FRAME)
        if kind == "poison":
            # A length that reaches beyond the end, and a plaintext behind it.
            return out.getvalue() + b"\x02\xfe\xff\x03" + f"{self.mark} poison {i}".encode()
        fastavro.schemaless_writer(out, _WRITER, self.plain(i))
        return out.getvalue()

    def upto(self, partition: int, position: int) -> Sequence[int]:
        """Return the ids that lie in a partition before a position, in order."""
        return self._ids[partition][: bisect_left(self._offsets[partition], position)]

    def at(self, partition: int, offset: int) -> int | None:
        """Return the id that lies at a place, None where there is none."""
        index = bisect_left(self._offsets[partition], offset)
        if index < len(self._offsets[partition]) and self._offsets[partition][index] == offset:
            return self._ids[partition][index]
        return None

    def ends(self) -> dict[int, int]:
        """Return each partition's position after the last record that was acknowledged."""
        return {p: offsets[-1] + 1 for p, offsets in enumerate(self._offsets) if offsets}

    def knows(self, positions: Mapping[int, int], timeout_s: float) -> bool:
        """Wait until every record before these positions is acknowledged here too; a worker can be faster."""
        end = time.monotonic() + timeout_s
        while any(self.ends().get(p, 0) < at for p, at in positions.items()):
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def of(self, kind: Kind) -> list[int]:
        """Return all ids of a kind in the order of each partition's log, which a retry may turn about."""
        acknowledged = [i for ids in self._ids for i in ids]
        rest = sorted(set(range(len(self.lane))).difference(acknowledged))
        return [i for i in (*acknowledged, *rest) if self.kind(i) == kind]

    def allow(self, count: int) -> None:
        """Let the producing thread go on up to `count` records in all."""
        self.allowed = count

    def run(self, rate: float) -> None:
        """Produce what is allowed, at no more than `rate` records a second, until `stop`."""
        producer = Producer(self._client)
        while not self._stop.is_set():
            started = time.monotonic()
            for _ in range(min(200, self.allowed - len(self.lane))):
                self._send(producer)
            producer.poll(0.02)
            self._stop.wait(max(0.0, 200 / rate - (time.monotonic() - started)))
        self.lost += producer.flush(60)

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    def _send(self, producer: Producer) -> None:
        i, lane = len(self.lane), self._random.randrange(self._lanes)
        while lane % PARTITIONS >= self.partitions:
            lane = self._random.randrange(self._lanes)
        self.lane.append(lane)
        partition = lane % PARTITIONS
        while True:
            try:
                producer.produce(
                    self.topic, self.value(i), str(lane), partition, on_delivery=partial(self._delivered, i)
                )
                return
            except BufferError:
                producer.poll(0.1)
            except KafkaException as exc:
                # A partition that has just been added is not heard of everywhere at once.
                if exc.args[0].code() != KafkaError._UNKNOWN_PARTITION:
                    raise
                producer.poll(0.1)

    def _delivered(self, i: int, error: object, message: Any) -> None:
        if error is not None:
            self.lost += 1
            return
        self._offsets[message.partition()].append(message.offset())
        self._ids[message.partition()].append(i)
