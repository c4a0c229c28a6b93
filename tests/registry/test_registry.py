"""The worker's schemas from and into a real registry."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.fakes.records import records_of
from tests.registry.apicurio import Apicurio
from tests.registry.conftest import Registry
from tests.registry.front import Front, guid_of
from tests.unit.encryption.authority import InMemoryAuthority
from tests.unit.pipeline.test_batch import datum, record
from worker.avro import (
    DeclarationOptions,
    RegistrySchemas,
    SchemaRef,
    compile_schema,
    frame,
    open_schema,
)
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.errors import ConfigError, DeclarationError, RecordError, RegistryUnavailable
from worker.local.tls import CertificateAuthority
from worker.metrics import Metrics
from worker.model import Position, SourceRecord, batch_of
from worker.pipeline.batch import BatchProcessor
from worker.pipeline.schemas import SchemaRules
from worker.position import TopicPartition
from worker.sink.kafka.options import KafkaSinkOptions, header_policy

pytestmark = [pytest.mark.heavy, pytest.mark.integration]

NONE = DeclarationOptions()
ADDRESS = {
    "type": "record",
    "name": "n.Address",
    "fields": [{"name": "street", "type": "string", "encrypted": True}, {"name": "city", "type": "string"}],
}


def customer(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "Customer", "namespace": "acme.crm", "fields": list(fields)}


ID = {"name": "id", "type": "long"}
EMAIL = {"name": "email", "type": "string", "encrypted": True}
COUNTRY = {"name": "country", "type": "string"}
FLAT = customer(ID, EMAIL, COUNTRY)


def processor(schemas: RegistrySchemas, sink: str, keys: InMemoryAuthority | None = None) -> BatchProcessor:
    return BatchProcessor(
        schemas,
        SchemaRules(NONE, lambda _name: sink),
        BatchEncryptor(keys or InMemoryAuthority()),
        route="r",
        metrics=Metrics("eu-central-1"),
    )


def test_every_frame_names_its_schema(registry: Registry, subject: str) -> None:
    """A number or a GUID, before the payload or in a header: each finds the schema; all leave with one output id."""
    number = registry.register(subject, FLAT)
    short, long = frame(number), b"\1" + guid_of(number).bytes
    values: list[tuple[bytes, tuple[tuple[str, bytes], ...]]] = [(short + datum(1), ()), (long + datum(2), ())]
    values += [(datum(3), (("__value_schema_id", short),)), (datum(4), (("__value_schema_id", long),))]
    records = [SourceRecord(Position("in", 0, i), b"k", v, h, 1, 1000) for i, (v, h) in enumerate(values)]
    keys, sink = InMemoryAuthority(), f"enc-{subject}"
    with Front(registry.url) as front:
        out = processor(registry.schemas(url=front.url), sink, keys).process(batch_of(records))

    latest = registry.client.get_latest_version(sink)
    assert out.failures == []
    written = [r.value or b"" for r in records_of(out.output)]
    assert {value[:5] for value in written} == {frame(int(latest.schema_id or 0))}
    sent = header_policy(KafkaSinkOptions(topic="out"))
    assert not any(sent(r.headers, TopicPartition("in", 0), i) for i, r in enumerate(records_of(out.output)))
    back = open_schema(str(latest.schema.schema_str)).split([value[5:] for value in written], [b"k"] * 4)
    opened = BatchDecryptor(keys).decrypt(back.columns)
    assert back.join([[v or b"" for v in c] for c in opened.values]) == [datum(i + 1) for i in range(4)]


def test_an_unknown_id_costs_its_record_alone(registry: Registry, subject: str) -> None:
    """A number, and a GUID that no registry has, are dead letters; the records beside them go on."""
    good = frame(registry.register(subject, FLAT)) + datum(1)
    poison = [frame(999_999) + datum(2), b"\1" + UUID(int=2**100).bytes + datum(3)]

    out = processor(registry.schemas(), f"enc-{subject}").process(
        batch_of([record(i, v) for i, v in enumerate([good, *poison])])
    )

    assert [r.position.offset for r in records_of(out.output)] == [0]
    assert {f.error.code for f in out.failures} == {"unknown_schema"}


def test_references_are_followed_and_the_output_stands_alone(registry: Registry, subject: str) -> None:
    """A field declared in a schema two references away is encrypted, and the output schema needs no reference."""
    registry.register(f"address-{subject}", ADDRESS)
    home = {"type": "record", "name": "n.Home", "fields": [{"name": "at", "type": "n.Address"}]}
    registry.register(f"home-{subject}", home, ("n.Address", f"address-{subject}", 1))
    order = {
        "type": "record",
        "name": "n.Order",
        "fields": [{"name": "to", "type": "n.Home"}, {"name": "x", "type": "int"}],
    }
    number = registry.register(subject, order, ("n.Home", f"home-{subject}", 1))
    schemas = registry.schemas()

    found = schemas.get(SchemaRef(id=number))
    plan = compile_schema(found.version, NONE).plan
    output = schemas.output_id(SchemaRef(id=number), f"enc-{subject}", plan.output_schema)

    assert [f.identity for f in plan.fields] == ["n.Order/to.at.street"]
    kept = registry.client.get_schema(output)
    assert not kept.references
    value = b"\x10a street\x02x\x00"
    split = compile_schema(found.version, NONE).split([value], [None])
    assert [c.values for c in split.columns] == [[b"\x10a street"]]
    assert open_schema(str(kept.schema_str)).fields == plan.fields


def test_an_incompatible_output_is_refused_before_it_is_registered(registry: Registry, subject: str) -> None:
    """Where the sink's subject demands compatibility that the output lacks, the route stops and no version is added."""
    sink = f"enc-{subject}"
    registry.register(sink, customer({"name": "email", "type": "int"}))
    registry.client.set_compatibility(sink, "FULL")
    number = registry.register(subject, FLAT)

    with pytest.raises(DeclarationError, match=f"not compatible with the latest version of {sink}"):
        processor(registry.schemas(), sink).process(batch_of([record(1, frame(number) + datum(1))]))
    assert registry.client.get_versions(sink) == [1]


def test_a_schema_that_may_not_be_registered_must_be_there(registry: Registry, subject: str) -> None:
    """With auto_register off, an output schema that somebody registered is found, and another one stops the route."""
    sink, output = f"enc-{subject}", compile_schema(json.dumps(FLAT), NONE).plan.output_schema
    looking = registry.schemas(auto_register=False)

    with pytest.raises(DeclarationError, match="auto_register is off"):
        looking.output_id(SchemaRef(id=1), sink, output)
    number = registry.register(sink, json.loads(output))
    assert looking.output_id(SchemaRef(id=1), sink, output) == number


LOST = customer(ID, {**EMAIL, "encrypted": False}, COUNTRY)


@pytest.mark.parametrize("by_guid", [False, True], ids=["number", "guid"])
def test_a_lost_declaration_stops_the_route(registry: Registry, subject: str, by_guid: bool) -> None:
    """A version that leaves clear what an earlier one encrypted stops the route by name, however a message names it."""
    # One text has one number in every subject, so the versions are this test's own.
    registry.register(subject, {**FLAT, "doc": subject})
    registry.register(subject, customer(ID, EMAIL, COUNTRY, {"name": "n", "type": "int", "default": 0}))
    number = registry.register(subject, {**LOST, "doc": subject})
    head = b"\1" + guid_of(number).bytes if by_guid else frame(number)

    with (
        Front(registry.url) as front,
        pytest.raises(DeclarationError, match=f"Customer/email was encrypted in {subject} version 1") as caught,
    ):
        processor(registry.schemas(url=front.url), f"enc-{subject}").process(batch_of([record(1, head + datum(1))]))
    assert caught.value.exit_code == 2
    assert f"enc-{subject}" not in registry.client.get_subjects()


def test_a_declaration_lost_in_a_reference_stops_the_route(registry: Registry, subject: str) -> None:
    """An earlier version whose declaration stands in a schema that it refers to counts like any other."""
    registry.register(f"address-{subject}", ADDRESS)
    order = {"type": "record", "name": "n.Order", "fields": [{"name": "to", "type": "n.Address"}]}
    registry.register(subject, order, ("n.Address", f"address-{subject}", 1))
    clear = {**ADDRESS, "fields": [{"name": "street", "type": "string"}, ADDRESS["fields"][1]]}
    registry.register(f"address-{subject}", clear)
    number = registry.register(subject, order, ("n.Address", f"address-{subject}", 2))
    found = registry.schemas().get(SchemaRef(id=number))

    with pytest.raises(DeclarationError, match=f"n.Order/to.street was encrypted in {subject} version 1"):
        compile_schema(found.version, NONE, earlier=found.earlier)


def test_an_id_is_asked_for_once(registry: Registry, subject: str) -> None:
    """What a registry said of an id is kept for ever: neither more records nor an outage ask again."""
    number, sink = registry.register(subject, FLAT), f"enc-{subject}"
    with Front(registry.url) as front:
        made = processor(registry.schemas(url=front.url), sink)
        made.process(batch_of([record(1, frame(number) + datum(1))]))
        asked = list(front.asked)
        front.status = 503

        out = made.process(batch_of([record(2, frame(number) + datum(2))]))

    assert len(records_of(out.output)) == 1
    assert asked.count(f"GET /schemas/ids/{number}") == 1
    assert front.asked == asked


def test_an_outage_is_waited_out(registry: Registry, subject: str) -> None:
    """While the registry is away a batch fails as transient; afterwards the same batch passes."""
    number = registry.register(subject, FLAT)
    with Front(registry.url) as front:
        made = processor(registry.schemas(url=front.url), f"enc-{subject}")
        batch = [record(1, frame(number) + datum(1))]
        for status in (500, 502, 503, 429):
            front.status = status
            with pytest.raises(RegistryUnavailable):
                made.process(batch_of(batch))
        front.status = 0

        assert len(records_of(made.process(batch_of(batch)).output)) == 1


def test_a_proxys_404_is_an_outage(registry: Registry, subject: str) -> None:
    """A 404 from something before the registry does not turn a topic into dead letters."""
    number = registry.register(subject, FLAT)
    with Front(registry.url) as front:
        front.status = 404
        with pytest.raises(RegistryUnavailable):
            processor(registry.schemas(url=front.url), f"enc-{subject}").process(
                batch_of([record(1, frame(number) + datum(1))])
            )


CREDENTIALS = [
    ("Basic dXNlcjpzZWNyZXQ=", {"basic.auth.user.info": "user:secret"}, {"basic.auth.user.info": "user:other"}),
    (
        "Bearer a-token",
        {
            "bearer.auth.credentials.source": "STATIC_TOKEN",
            "bearer.auth.token": "a-token",
            "bearer.auth.logical.cluster": "lsrc-1",
            "bearer.auth.identity.pool.id": "pool-1",
        },
        {},
    ),
]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(("header", "right", "wrong"), CREDENTIALS, ids=["basic", "bearer"])
def test_credentials(
    registry: Registry,
    subject: str,
    tmp_path: Path,
    header: str,
    right: dict[str, Any],
    wrong: dict[str, Any],
    tls: bool,
) -> None:
    """Basic and bearer credentials are sent, over TLS too; wrong ones stop the worker and are not shown."""
    number = registry.register(subject, FLAT)
    authority = CertificateAuthority(tmp_path)
    keystore = authority.issue("registry")
    trust: dict[str, Any] = {"ssl.ca.location": str(authority.path)} if tls else {}
    with Front(registry.url, authorization=header, keystore=keystore if tls else None) as front:
        found = registry.schemas(url=front.url, **trust, **right).get(SchemaRef(id=number))
        with pytest.raises(ConfigError, match="refuses these credentials") as caught:
            registry.schemas(url=front.url, **trust, **wrong).check()

    assert json.loads(found.schema)["name"] == "Customer"
    assert "other" not in str(caught.value)


def test_a_certificate_of_an_unknown_authority_is_refused(registry: Registry, tmp_path: Path) -> None:
    """Without the CA nothing is sent to whoever answers."""
    keystore = CertificateAuthority(tmp_path).issue("registry")
    with Front(registry.url, keystore=keystore) as front:
        with pytest.raises(RegistryUnavailable):
            registry.schemas(url=front.url).check()
        assert front.asked == []


def test_a_registry_that_ends_and_comes_back(subject: str, apicurio: Apicurio) -> None:
    """The process itself goes away: transient; it answers again on its port: known ids were never forgotten."""
    with Apicurio() as own, contextlib.closing(Registry(own.url)) as registry:
        number = registry.register(subject, FLAT)
        schemas = registry.schemas()
        known = schemas.get(SchemaRef(id=number))
        own.stop()
        with pytest.raises(RegistryUnavailable):
            schemas.check()
        assert schemas.get(SchemaRef(id=number)) is known
        own.start()

        schemas.check()
        with pytest.raises(RecordError):
            registry.schemas().get(SchemaRef(id=number))
