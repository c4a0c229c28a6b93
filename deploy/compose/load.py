"""Sample data: makes the topic and writes invented customers, some of another region and some that do not decode."""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from fastavro import parse_schema, schemaless_writer

_COUNTRY = {"eu-central-1": "DE", "ap-southeast-2": "AU"}
_FRAME = b"\x00\x00\x00\x00\x01"
_NAMES = ("Ada", "Grace", "Linus", "Barbara", "Edsger", "Radia", "Ken", "Frances")


def customer(n: int, country: str, chance: random.Random) -> dict[str, object]:
    """Return one invented customer."""
    name = f"{chance.choice(_NAMES)} {chance.choice(_NAMES)}son"
    return {
        "id": f"{country}-{n:08}",
        "country": country,
        "since": date(2024, 1 + n % 12, 1 + n % 28),
        "name": name,
        "email": f"{name.replace(' ', '.').lower()}.{n}@mail.example",
        "phone": None if n % 10 == 9 else f"+00 {n:09}",
        "address": f"{n % 200} Example Street",
    }


def main(bootstrap: str, region: str, schema: str) -> None:
    """Write a hundred customers a second, until killed; `ready` in the temporary directory says that it does."""
    avro = parse_schema(json.loads(Path(schema).read_text(encoding="utf-8")))
    try:
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic("customers", 6)])["customers"].result(30)
    except KafkaException as exc:
        print(exc.args[0].str(), file=sys.stderr)
    producer, chance, n = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20}), random.Random(1), 0  # noqa: S311
    Path(tempfile.gettempdir(), "ready").touch()
    while True:
        own = _COUNTRY[region]
        country = own if n % 200 else next(c for c in _COUNTRY.values() if c != own)
        value = io.BytesIO()
        schemaless_writer(value, avro, customer(n, country, chance))
        framed = b"no frame" if n % 1000 == 999 else _FRAME + value.getvalue()
        producer.produce("customers", framed, key=f"{country}-{n:08}")
        producer.poll(0)
        n += 1
        if not n % 100:
            time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:4])
