"""
Confluent's client-side field level encryption as a contestant of `make bench`: run by an interpreter that has it.

`python csfle.py BOOTSTRAP SOURCE TARGET PARTITIONS SCHEMA`: reads the framed records of SOURCE to their end, has the
client's own serializer encrypt the fields tagged PII and writes the result to TARGET; prints its figures as JSON. The
registries are the client's own mock, the key encryption key is a local one: nothing is waited for.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.schema_registry import Rule, RuleKind, RuleMode, RuleParams, RuleSet, Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.rules.encryption.encrypt_executor import FieldEncryptionExecutor
from confluent_kafka.schema_registry.rules.encryption.localkms.local_driver import LocalKmsDriver
from confluent_kafka.serialization import MessageField, SerializationContext


def serializer(declared: dict[str, Any], subject: str) -> Any:
    """Return the client's serializer for the bench's schema, what it declares as encrypted tagged PII."""
    fields = []
    for field in declared["fields"]:
        clear = {k: v for k, v in field.items() if k != "encrypted"}
        fields.append(clear | {"confluent:tags": ["PII"]} if "encrypted" in field else clear)
    tagged = json.dumps({**{k: v for k, v in declared.items() if k != "encrypted"}, "fields": fields})
    LocalKmsDriver.register()
    register: Callable[[], None] = FieldEncryptionExecutor.register
    register()
    params = {"encrypt.kek.name": "bench", "encrypt.kms.type": "local-kms", "encrypt.kms.key.id": "bench"}
    rule = Rule(
        "encrypt", "", RuleKind.TRANSFORM, RuleMode.WRITEREAD, "ENCRYPT", ["PII"], RuleParams(params), None, None,
        "ERROR,NONE", False,
    )  # fmt: skip
    client = SchemaRegistryClient.new_client({"url": "mock://"})
    client.register_schema(subject, Schema(tagged, "AVRO", [], None, RuleSet(None, [rule])))
    options = {"auto.register.schemas": False, "use.latest.version": True}
    return AvroSerializer(client, conf=options, rule_conf={"secret": "bench"})


def main() -> None:
    bootstrap, source, target, partitions, schema = sys.argv[1:]
    declared = json.loads(Path(schema).read_text())
    serialize, parsed = serializer(declared, f"{target}-value"), fastavro.parse_schema(declared)
    context = SerializationContext(target, MessageField.VALUE)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "csfle",
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.assign([TopicPartition(source, n, 0) for n in range(int(partitions))])
    settings = {"enable.idempotence": True, "acks": "all", "linger.ms": 5, "compression.type": "lz4"}
    producer = Producer({"bootstrap.servers": bootstrap, "queue.buffering.max.messages": 1_000_000, **settings})
    cpu, start = time.process_time(), time.monotonic()
    records = ended = 0
    while ended < int(partitions):
        for message in consumer.consume(10_000, 0.2):
            if (error := message.error()) is None:
                record = fastavro.schemaless_reader(io.BytesIO((message.value() or b"")[5:]), parsed, None)
                value, place = serialize(record, context), message.partition() or 0
                producer.produce(target, value, key=message.key(), partition=place)
                records += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                ended += 1
        producer.flush()
    print(json.dumps({"records": records, "seconds": time.monotonic() - start, "cpu_s": time.process_time() - cpu}))
    consumer.close()


if __name__ == "__main__":
    main()
