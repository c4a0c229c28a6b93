"""Values of unions: which branch is meant is never a guess between two that differ in what is encrypted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.encryption.authority import InMemoryAuthority
from worker import Encryption, output_schema
from worker.avro import decode_value, encode_value
from worker.errors import RecordError

COMPANY = {"type": "record", "name": "acme.Company", "fields": [{"name": "name", "type": "string"}]}
PERSON = {
    "type": "record",
    "name": "acme.Person",
    "fields": [{"name": "name", "type": "string", "encrypted": True}],
}
PET = {"type": "record", "name": "acme.Pet", "fields": [{"name": "legs", "type": "int"}]}
MAP = {"type": "map", "values": "string"}


def contact(*branches: object) -> str:
    fields = [{"name": "party", "type": list(branches)}]
    return json.dumps({"type": "record", "name": "acme.Contact", "fields": fields})


@pytest.mark.parametrize("branches", [(COMPANY, PERSON), (PERSON, COMPANY), ("null", MAP, PERSON), (PERSON, MAP, PET)])
def test_a_value_of_two_branches_is_refused(branches: tuple[object, ...]) -> None:
    """Taken for a company, a person's name would stand in the clear; the message names both, and not the value."""
    with pytest.raises(RecordError, match=r"party: .*several branches.*acme\.Person") as found:
        Encryption.over(InMemoryAuthority()).encrypt_record({"party": {"name": "Ann"}}, schema=contact(*branches))

    assert "Ann" not in str(found.value)


def test_a_deep_value_of_two_branches_is_not_taken_for_a_third() -> None:
    """A record that holds it would also be a map."""
    inner = {"type": "record", "name": "acme.Deep", "fields": [{"name": "party", "type": [COMPANY, PERSON]}]}
    schema = json.dumps(["null", inner, {"type": "map", "values": MAP}])

    with pytest.raises(RecordError, match="several branches"):
        encode_value(schema, {"party": {"name": "Ann"}})


@pytest.mark.parametrize(("name", "is_clear"), [("acme.Company", True), ("acme.Person", False)])
def test_a_named_branch_is_taken(name: str, is_clear: bool) -> None:
    """As fastavro's writers name them."""
    schema, encryption = contact("null", COMPANY, PERSON), Encryption.over(InMemoryAuthority())

    datum = encryption.encrypt_record({"party": (name, {"name": "Ann Example"})}, schema=schema)

    assert (b"Ann Example" in datum) is is_clear
    assert encryption.decrypt_record(datum, schema=output_schema(schema)) == {"party": {"name": "Ann Example"}}


@pytest.mark.parametrize(
    ("branches", "value", "index"),
    [
        (["int", "long"], ("long", 5), 1),
        (["null", "string"], ("string", "ann"), 1),
        (["null", "string"], ("null", None), 0),
        ([COMPANY, PET], {"legs": 4}, 1),
        ([COMPANY, PET, MAP], {"legs": "four"}, 2),
        (["double", "int"], 5, 1),
    ],
)
def test_what_only_one_branch_fits_needs_no_name(branches: list[Any], value: object, index: int) -> None:
    """Whatever has another branch's shape."""
    schema = json.dumps(branches)

    datum = encode_value(schema, value)

    assert datum[0] == 2 * index
    assert decode_value(schema, datum) == (value[1] if isinstance(value, tuple) else value)


@pytest.mark.parametrize("value", [("acme.Pat", {"legs": 4}), ("Pet", {"legs": 4}), ("acme.Pet",), (None, 1), ([], 1)])
def test_a_name_that_is_none_is_refused(value: object) -> None:
    """With those that are."""
    with pytest.raises(RecordError, match=r"acme\.Company, acme\.Pet"):
        encode_value(json.dumps([COMPANY, PET]), value)
