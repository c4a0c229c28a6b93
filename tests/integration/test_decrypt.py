"""`worker decrypt` over a real topic."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import TopicFactory
from tests.program import said
from worker.avro import DeclarationOptions, compile_schema, encode_value, frame
from worker.encryption import BatchEncryptor
from worker.encryption.ondemand import OnDemandKeys
from worker.model import Audit
from worker.zerokms.factory import client_from_environment

pytestmark = pytest.mark.integration

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "long"},
    {"name": "email", "type": ["null", "string"], "default": None, "encrypted": True},
]
SCHEMA = {"type": "record", "name": "acme.crm.Customer", "fields": FIELDS}
FIRST = datetime(2026, 1, 2, 3, tzinfo=UTC)
CLEAR = {**SCHEMA, "fields": [{**field, "encrypted": False} for field in FIELDS]}


def sealed(env: Mapping[str, str], count: int) -> tuple[str, list[bytes]]:
    compiled = compile_schema(json.dumps(SCHEMA), DeclarationOptions())
    rows: list[dict[str, object]] = [{"id": i, "email": f"customer{i}@example.com"} for i in range(count)]
    split = compiled.split([encode_value(json.dumps(CLEAR), row) for row in rows], [None] * count)
    with (
        client_from_environment(env, allow_hosts=("127.0.0.1", "localhost")) as client,
        OnDemandKeys(client, Audit("test")) as keys,
    ):
        envelopes = BatchEncryptor(keys).encrypt(split.columns).envelopes
    return compiled.plan.output_schema, [frame(7) + (datum or b"") for datum in split.join(envelopes)]


def run(env: Mapping[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CS_", "WORKER_"))}
    return said({**kept, **env}, "decrypt", *args, timeout_s=55)


def test_prints_a_topic_decrypted(kafka: Kafka, topic: TopicFactory, authority: dict[str, str], tmp_path: Path) -> None:
    """Every record is a line with its values, a tombstone a null, a broken one an error; the end is the present end."""
    output, values = sealed(authority, 3)
    name = topic(partitions=2)
    broken = bytearray(values[2])
    # Within the ciphertext: the array's first byte, the iv, the ciphertext's own head.
    broken[broken.index(b"\x95\xc4\x10") + 1 + 18 + 2] ^= 1
    produce(
        kafka, name, [(b"k0", values[0]), (b"k1", values[1]), (b"k2", None), (b"k3", bytes(broken)), (b"\xff", b"x")]
    )
    file = tmp_path / "output.avsc"
    file.write_text(output)

    result = run(authority, "--topic", name, "--bootstrap", kafka.bootstrap, "--schema", str(file))

    assert result.returncode == 1, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    found = {line.get("key", line.get("key_base64")): line for line in lines}
    assert found["k0"]["value"] == {"id": 0, "email": "customer0@example.com"}
    assert found["k1"]["value"] == {"id": 1, "email": "customer1@example.com"}
    assert found["k2"]["value"] is None
    assert found["k3"]["code"] == "decryption_failed"
    assert found["/w=="]["code"] == "bad_magic"
    assert "customer2@example.com" not in result.stdout + result.stderr


def test_both_ways_print_the_same(kafka: Kafka, topic: TopicFactory, authority: dict[str, str], tmp_path: Path) -> None:
    """With the extension and without: frames of all kinds, tombstones, refusals, odd keys, what was aborted."""
    output, values = sealed(authority, 12)
    name, file = topic(), tmp_path / "output.avsc"
    file.write_text(output)
    broken = bytearray(values[3])
    broken[-1] ^= 1
    records: list[tuple[bytes | None, bytes | None]] = [
        *((f'k{i} "\u00e4\n'.encode(), value) for i, value in enumerate(values[:3])),
        (b"k3", bytes(broken)),
        (b"\xff\x00", frame(8) + values[4][5:]),
        (b"k5", None),
        (None, values[6]),
        (b"k7", b""),
        (b"k8", b"\x05nothing"),
        (b"k9", values[9] + b"\0"),
    ]
    produce(kafka, name, records)
    aborted(kafka, name, values[10])
    told = Producer(dict(kafka.client))
    told.produce(name, values[11][5:], b"k11", headers=[("__value_schema_id", frame(9)), ("h", None)])
    assert told.flush(30) == 0
    common = ("--topic", name, "--bootstrap", kafka.bootstrap, "--schema", str(file))

    for options in ((), ("--limit", "5", "--to", "2100-01-01"), ("--where-field", "id=2")):
        native, plain = (run({**authority, "WORKER_NATIVE": to}, *common, *options) for to in ("1", "0"))
        assert (native.stdout, native.returncode) == (plain.stdout, plain.returncode)
        lines = [json.loads(line) for line in native.stdout.splitlines()]
        if not options:
            assert lines[-1]["key"] == "k11"
            assert [line["value"]["id"] for line in lines if line.get("value")] == [0, 1, 2, 4, 6, 11]
            codes = [line["code"] for line in lines if "error" in line]
            assert codes == ["key_refused", "bad_magic", "bad_magic", "trailing_bytes"]


def test_stops_at_its_limit_and_reads_an_empty_topic(
    kafka: Kafka, topic: TopicFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """A limit ends the output; a topic without records ends at once."""
    output, values = sealed(authority, 3)
    full, empty = topic(), topic()
    produce(kafka, full, [(None, value) for value in values])
    file = tmp_path / "output.avsc"
    file.write_text(output)
    common = ("--bootstrap", kafka.bootstrap, "--schema", str(file))

    limited = run(authority, "--topic", full, *common, "--limit", "2")
    nothing = run(authority, "--topic", empty, *common)

    assert [json.loads(line)["value"]["id"] for line in limited.stdout.splitlines()] == [0, 1]
    assert (limited.returncode, nothing.returncode, nothing.stdout) == (0, 0, "")


def test_clear_records_are_no_decrypted_ones(
    kafka: Kafka, topic: TopicFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """A schema without `encryption`, because nothing was encrypted or a registry dropped it, is said, and exits 1."""
    output, values = sealed(authority, 2)
    dropped = json.loads(output)
    for item in dropped["fields"]:
        item.pop("encryption", None)
    clear, lost = topic(), topic()
    produce(kafka, clear, [(None, frame(7) + encode_value(json.dumps(CLEAR), {"id": 1, "email": "ada@example.org"}))])
    produce(kafka, lost, [(None, value) for value in values])

    for name, schema in ((clear, CLEAR), (lost, dropped)):
        file = tmp_path / f"{name}.avsc"
        file.write_text(json.dumps(schema))
        result = run(authority, "--topic", name, "--bootstrap", kafka.bootstrap, "--schema", str(file))
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert result.returncode == 1, result.stderr
        assert lines
        assert {line["code"] for line in lines} == {"not_encrypted"}
        assert all("no `encryption`" in line["error"] and "value" not in line for line in lines)


def test_says_what_is_missing(authority: dict[str, str]) -> None:
    """Without a cluster, a schema or a credential it exits with 2 and names what to give."""
    for args, word in (
        ((), "--bootstrap"),
        (("--bootstrap", "127.0.0.1:1"), "--schema"),
        (("--bootstrap", "127.0.0.1:1", "--schema", "/nonexistent"), "can't be read"),
    ):
        result = run(authority, "--topic", "t", *args)
        assert (result.returncode, word in result.stderr) == (2, True), result.stderr


@pytest.fixture
def chosen(
    kafka: Kafka, topic: TopicFactory, authority: dict[str, str], tmp_path: Path
) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Six records, one a minute, every other of the key `even`; what `worker decrypt` shows of them by its options."""
    output, values = sealed(authority, 6)
    # Kept for ever: a broker soon deletes what is as old as these.
    name, file = topic(partitions=2, config={"retention.ms": "-1"}), tmp_path / "output.avsc"
    file.write_text(output)
    stamps = [int(FIRST.timestamp() * 1000) + 60_000 * i for i in range(6)]
    keys = [b"odd" if i % 2 else b"even" for i in range(6)]
    produce(kafka, name, list(zip(keys, values, strict=True)), stamps=stamps)

    def show(*options: str) -> tuple[int, list[dict[str, Any]]]:
        result = run(authority, "--topic", name, "--bootstrap", kafka.bootstrap, "--schema", str(file), *options)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        return result.returncode, sorted((line["value"] for line in lines), key=lambda value: int(value["id"]))

    return show


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("--to", "2026-01-02T03:02:00"), [0, 1]),
        (("--from", "2026-01-02T04:01:00+01:00", "--to", "2026-01-02T03:04:00Z"), [1, 2, 3]),
        (("--key", "odd"), [1, 3, 5]),
        (("--where-field", "email=customer4@example.com"), [4]),
        (("--key", "even", "--where-field", "id=2", "--from", "2026-01-02T03:00:00Z"), [2]),
    ],
)
def test_shows_the_records_that_were_asked_for(
    chosen: Callable[..., tuple[int, list[dict[str, Any]]]], options: tuple[str, ...], ids: list[int]
) -> None:
    """By time, the end excluded, by key, and by what a field is once in the clear; several at once all hold."""
    code, values = chosen(*options)

    assert (code, [value["id"] for value in values]) == (0, ids)
    assert all(value["email"] == f"customer{value['id']}@example.com" for value in values)


def produce(
    kafka: Kafka,
    topic: str,
    records: list[tuple[bytes | None, bytes | None]],
    stamps: list[int] | None = None,
) -> None:
    producer = Producer(dict(kafka.client))
    for i, (key, value) in enumerate(records):
        producer.produce(topic, value, key, timestamp=0 if stamps is None else stamps[i])
    assert producer.flush(30) == 0


def aborted(kafka: Kafka, topic: str, value: bytes) -> None:
    """Write a record within a transaction that is given up."""
    producer = Producer({**kafka.client, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value, b"aborted")
    assert producer.flush(30) == 0
    producer.abort_transaction(30)
