"""
A plain loop of confluent-kafka's beside the worker: read, copy, write and commit, with the worker's client settings.

What it takes to recover is what the brokers and librdkafka take. It does what the library's documentation says: an
abortable error aborts and rewinds, a fatal one ends the process, which is started again. So is one that hangs: where a
coordinator dies, `send_offsets_to_transaction` of librdkafka (2.16) may never return, whatever its timeout.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.faults.stand import Place, Stand
from worker.kafka.properties import connection_properties
from worker.local.process import Program
from worker.sink.kafka.deadletters import PRODUCER_DEFAULTS
from worker.source.options import Assignment, SourceOptions
from worker.source.properties import GroupMember, consumer_properties

_TICK_S = 0.05


class Loop:
    """One process's loop."""

    def __init__(self, told: dict[str, Any]) -> None:
        connection = connection_properties(told["bootstrap"], told["properties"])
        options = SourceOptions.model_validate(told["source"])
        member = GroupMember(told["group"], told["instance"])
        self._target, self._patience_s = told["target"], 2 * told["transaction_s"]
        reading = consumer_properties(options, member, connection, bounded=False)
        self._consumer = Consumer({**reading, "auto.offset.reset": "earliest"})
        owned = {
            "enable.idempotence": True,
            "transactional.id": f"{told['group']}.{told['instance']}",
            "transaction.timeout.ms": int(told["transaction_s"] * 1000),
            "message.timeout.ms": int(told["transaction_s"] * 1000),
        }
        self._producer = Producer({**PRODUCER_DEFAULTS, **connection, **owned})
        self._topics = list(options.topics)

    def run(self) -> None:
        """Go on until killed, or until a fatal error."""
        self._producer.init_transactions(60)
        self._consumer.subscribe(self._topics)
        while True:
            messages = [m for m in self._consumer.consume(500, 0.05) if m.error() is None]
            if messages:
                faulthandler.dump_traceback_later(self._patience_s, exit=True)
                try:
                    self._deliver(messages)
                except KafkaException as exc:
                    self._give_up(exc)
                faulthandler.cancel_dump_traceback_later()

    def _deliver(self, messages: list[Any]) -> None:
        producer = self._producer
        producer.begin_transaction()
        offsets: dict[tuple[str, int], int] = {}
        for m in messages:
            producer.produce(self._target, m.value(), m.key(), m.partition(), timestamp=m.timestamp()[1])
            offsets[m.topic(), m.partition()] = m.offset() + 1
        following = [TopicPartition(topic, number, at) for (topic, number), at in offsets.items()]
        metadata = self._consumer.consumer_group_metadata()
        self._again(lambda: producer.send_offsets_to_transaction(following, metadata, 60))
        self._again(producer.commit_transaction)

    def _again(self, call: Any) -> None:
        while True:
            try:
                call()
            except KafkaException as exc:
                if not exc.args[0].retriable():
                    raise
            else:
                return

    def _give_up(self, failure: KafkaException) -> None:
        error: KafkaError = failure.args[0]
        if not error.txn_requires_abort():
            raise failure
        self._again(self._producer.abort_transaction)
        for partition in self._consumer.committed(self._consumer.assignment(), 60):
            if partition.offset >= 0:
                self._consumer.seek(partition)


class Loops:
    """Several such processes of one group; one that ends is started again at once."""

    def __init__(self, stand: Stand, place: Place, assignment: Assignment, *, session_s: float, transaction_s: float):
        source = {"topics": [place.source], "assignment": assignment}
        self._told = {
            "bootstrap": stand.kafka.bootstrap,
            "properties": stand.kafka.properties,
            "group": f"bare-{place.group}",
            "target": f"bare-{place.target}",
            "source": source if assignment == "consumer" else {**source, "session_timeout_s": session_s},
            "transaction_s": transaction_s,
        }
        self._log = stand.directory / "bare.log"
        self._running: dict[str, Program] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)

    @property
    def target(self) -> str:
        """The topic that they write."""
        return str(self._told["target"])

    def start(self, *instances: str) -> None:
        """Begin."""
        for instance in instances:
            self._begin(instance)
        self._thread.start()

    def kill(self, instance: str) -> None:
        """SIGKILL one; its successor comes at once."""
        self._running[instance].kill()

    def close(self) -> None:
        """Kill all of them."""
        self._ended.set()
        self._thread.join()
        for program in self._running.values():
            program.kill()

    def _keep_alive(self) -> None:
        while not self._ended.wait(_TICK_S):
            for instance, program in list(self._running.items()):
                if not program.is_running:
                    self._begin(instance)

    def _begin(self, instance: str) -> None:
        command = [sys.executable, "-m", "tests.bench.bare", json.dumps({**self._told, "instance": instance})]
        path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
        self._running[instance] = Program(command, self._log, environment=path)


if __name__ == "__main__":
    Loop(json.loads(sys.argv[1])).run()
