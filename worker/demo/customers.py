"""The demonstration's input: customers with a region's own names, written by Confluent's stock serializer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from faker import Faker

# Drawing a locale's address costs 0.1 ms; a few thousand different people in varying combinations are as good.
_DISTINCT = 2_000
_EPOCH = date(1970, 1, 1)

SCHEMA = files("worker.demo").joinpath("customer.avsc").read_text(encoding="utf-8")
ENCRYPTED = ("name", "email", "phone", "address")


@dataclass(frozen=True, slots=True)
class Population:
    """Who lives in a region: its Faker locales and country codes, and a seed so that a run can be repeated."""

    locales: Mapping[str, str]
    seed: int


def customers(population: Population, count: int) -> Iterator[dict[str, object]]:
    """Yield `count` different customers; every tenth has no phone."""
    sources = []
    for country, locale in population.locales.items():
        fake = Faker(locale)
        fake.seed_instance(population.seed)
        sources.append((country, fake))
    pools = [
        [(fake.name(), fake.phone_number(), fake.address().replace("\n", ", ")) for _ in range(_DISTINCT)]
        for _, fake in sources
    ]
    for n in range(count):
        which = n % len(sources)
        name, _, address = pools[which][n % _DISTINCT]
        phone = pools[which][(n * 7) % _DISTINCT][1]
        yield {
            "id": f"{sources[which][0]}-{n:06}",
            "country": sources[which][0],
            "since": date.fromordinal(_EPOCH.toordinal() + 15_000 + n % 5_000),
            "name": name,
            "email": f"customer.{n:06}.{population.seed}@mail.example",
            "phone": None if n % 10 == 9 else phone,
            "address": address,
        }


def write(
    records: Iterator[dict[str, object]],
    topic: str,
    client: Mapping[str, str],
    *,
    registry: str,
    progress: Callable[[], None],
) -> tuple[int, dict[str, dict[str, object]]]:
    """
    Produce the records, keyed by their id.

    Args:
        records: what to write.
        topic: where to.
        client: the producer's connection properties.
        registry: name of the in-process registry, one per region.
        progress: called after each record.

    Returns:
        The schema id that stands in the records, and the records by id.
    """
    registered = SchemaRegistryClient.new_client({"url": f"mock://{registry}"})
    serialize = AvroSerializer(registered, SCHEMA)
    context = SerializationContext(topic, MessageField.VALUE)
    producer = Producer({**client, "linger.ms": 20, "compression.type": "lz4", "queue.buffering.max.messages": 200_000})
    written = {}
    schema_id = 0
    for record in records:
        written[str(record["id"])] = record
        value = serialize(record, context)
        assert value is not None
        schema_id = int.from_bytes(value[1:5])
        producer.produce(topic, value, key=str(record["id"]))
        producer.poll(0)
        progress()
    if producer.flush(60):
        raise TimeoutError(f"{topic}: the broker did not take every record within 60 s")
    return schema_id, written
