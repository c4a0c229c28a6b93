"""A topic's own subject counts for every schema that its records name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.encryption.authority import InMemoryAuthority
from tests.unit.pipeline.test_batch import record
from worker.avro import DeclarationOptions, LocalSchema, LocalSchemas, SchemaVersion
from worker.encryption import BatchEncryptor
from worker.errors import DeclarationError
from worker.metrics import Metrics
from worker.model import batch_of
from worker.pipeline.batch import BatchProcessor
from worker.pipeline.schemas import SchemaRules, subject_of

EMAIL = {"name": "email", "type": "string"}
PHONE = {"name": "phone", "type": "string", "encrypted": True}
VALUE = b"\0\0\0\0\1\x1eada@example.org\x061-2"


def customer(*fields: dict[str, Any], name: str = "acme.crm.Customer") -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


class Registry(LocalSchemas):
    """Knows versions of the topic's subject beside the one schema that records name."""

    def __init__(self, schema: str, versions: Sequence[str]) -> None:
        super().__init__({1: LocalSchema(input=schema, output_id=1)})
        self._versions = [SchemaVersion(v, label=f"in-value version {n}") for n, v in enumerate(versions, 1)]

    def history(self, topic: str) -> Sequence[SchemaVersion]:
        return self._versions if topic == "in" else []


def written(schema: str, versions: Sequence[str], topics: Sequence[str] = ("in",)) -> bytes:
    processor = BatchProcessor(
        Registry(schema, versions),
        SchemaRules(DeclarationOptions(clear=()), subject_of("topic", "out"), topics=topics),
        BatchEncryptor(InMemoryAuthority()),
        route="r",
        metrics=Metrics("eu-central-1"),
    )
    return processor.process(batch_of([record(0, VALUE)])).output.values[0] or b""


DECLARED = customer({**EMAIL, "encrypted": True}, PHONE)


def test_another_subject_s_schema_hides_no_declaration() -> None:
    """A schema registered elsewhere, of the record's name and without a declaration, is encrypted as the topic's is."""
    out = written(customer(EMAIL, PHONE), [DECLARED])

    assert b"ada@example.org" not in out
    assert b"ada@example.org" in written(customer(EMAIL, PHONE), [DECLARED], topics=())


def test_a_field_that_another_subject_s_schema_renamed_is_refused() -> None:
    """What the topic declares and the schema has nowhere may be in the clear under another name."""
    with pytest.raises(DeclarationError, match="in-value version 1"):
        written(customer({"name": "mail", "type": "string"}, PHONE), [DECLARED])


def test_a_schema_that_begins_with_a_comment_is_compared_too() -> None:
    """As tools write them."""
    commented = "// generated\n" + DECLARED

    assert b"ada@example.org" not in written(commented, [commented])
    assert b"ada@example.org" not in written("// other\n" + customer(EMAIL, PHONE), [commented])


def test_another_record_is_another_matter() -> None:
    """A topic of several records: what one declares says nothing of the others."""
    assert b"ada@example.org" in written(customer(EMAIL, PHONE, name="acme.crm.Lead"), [DECLARED])


def test_a_version_of_the_topic_s_subject_is_judged_as_such() -> None:
    """Its own history comes with it; nothing is said twice."""
    clear = customer({**EMAIL, "encrypted": False}, PHONE)

    assert b"ada@example.org" in written(clear, [clear])
