"""How a rekey's new schema comes from the stored one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rekeying import PERSON, declared
from worker.avro import DeclarationOptions, compile_schema, open_schema
from worker.errors import ConfigError, DeclarationError
from worker.rekey.wanted import Wanted, named, refuse_alike

UNSAID = declared(PERSON, "old").plan.output_schema
STORED = Wanted(keyset="old").compiled(UNSAID).plan.output_schema
STREET = {"name": "street", "type": "string", "encrypted": {"descriptor": "s"}}
ADDRESS = {"type": "record", "name": "Address", "fields": [STREET]}


def root(*fields: dict[str, Any]) -> str:
    return json.dumps({"type": "record", "name": "acme.R", "fields": list(fields)})


def test_only_the_keyset_changes() -> None:
    """All that the stored schema says of a field stays, but for its keyset."""
    made = Wanted(keyset="new").compiled(STORED)

    before, after = open_schema(STORED).fields, made.plan.fields
    assert [plan.keyset for plan in after] == ["new"] * len(before)
    for old, new in zip(before, after, strict=True):
        assert (old.identity, old.descriptor, old.format, old.context, old.bind, old.null, old.index) == (
            *(new.identity, new.descriptor, new.format, new.context, new.bind, new.null, new.index),
        )
    assert made.plan.output_schema.replace('"new"', '"old"') == STORED


def test_uses_of_one_type_keep_their_own_descriptors() -> None:
    """What a second use of a type adds to its descriptor is added once."""
    text = root({"name": "a", "type": ADDRESS}, {"name": "b", "type": ["null", "Address"]})
    stored = compile_schema(text, DeclarationOptions()).plan

    made = Wanted(keyset="new").compiled(stored.output_schema).plan

    assert [plan.descriptor for plan in made.fields] == [plan.descriptor for plan in stored.fields]


def test_a_copy_that_a_policy_made_stays_one() -> None:
    """A type that is encrypted at one use and not at the other comes back as that."""
    clear = {"type": "record", "name": "Address", "fields": [{"name": "street", "type": "string"}]}
    text = root({"name": "home", "type": clear}, {"name": "shop", "type": "Address"})
    paths = {"acme.R/home.street": {"format": "leased"}}
    stored = compile_schema(text, DeclarationOptions.model_validate({"paths": paths})).plan

    made = Wanted(keyset="new").compiled(stored.output_schema).plan

    assert [plan.identity for plan in made.fields] == ["acme.R/home.street"]
    assert open_schema(made.output_schema).writer_schema == open_schema(stored.output_schema).writer_schema


def test_another_record_is_refused() -> None:
    """A rekey changes how values are encrypted, not what they are values of."""
    other = json.dumps({**PERSON, "fields": PERSON["fields"][:3]})

    with pytest.raises(ConfigError, match="same records"):
        Wanted(schema=other).compiled(STORED)
    with pytest.raises(ConfigError, match="nothing encrypted"):
        Wanted(schema=root({"name": "id", "type": "long"})).compiled(STORED)


def test_nothing_to_change_or_nothing_encrypted_is_refused() -> None:
    """What is wanted must be said, of a field that there is, in a schema that encrypts."""
    with pytest.raises(ConfigError, match="say what"):
        Wanted()
    with pytest.raises(ConfigError, match="no encrypted field is"):
        Wanted(descriptors={"acme.crm.Person/none": "x"}).compiled(STORED)
    with pytest.raises(DeclarationError, match="no `encryption`"):
        Wanted(keyset="new").compiled(root({"name": "id", "type": "long"}))
    with pytest.raises(DeclarationError, match="bind"):
        Wanted(format="record").compiled(STORED)


def test_a_change_that_no_envelope_shows_is_refused() -> None:
    """Another context alone leaves keyset, format and descriptor as they are: new could not be told from old."""
    schema = json.loads(json.dumps(PERSON))
    del schema["fields"][2]["encrypted"]["context"]
    alone = Wanted(schema=json.dumps(schema), keyset="old").compiled(STORED)

    with pytest.raises(ConfigError, match="can't be told"):
        refuse_alike(STORED, alone)
    refuse_alike(STORED, other := Wanted(schema=json.dumps(schema), keyset="new").compiled(STORED))
    with pytest.raises(ConfigError, match="can't be told"):
        refuse_alike(UNSAID, other)


def test_a_field_that_would_be_left_in_the_clear_is_refused() -> None:
    """A rekey opens nothing for good, and encrypts nothing that was clear."""
    schema = json.loads(json.dumps(PERSON))
    schema["fields"][2]["encrypted"] = False
    fewer = Wanted(schema=json.dumps(schema), keyset="new").compiled(STORED)

    with pytest.raises(ConfigError, match="left in the clear"):
        refuse_alike(STORED, fewer)
    with pytest.raises(ConfigError, match="in the clear in what is stored"):
        refuse_alike(fewer.plan.output_schema, Wanted(keyset="new").compiled(STORED))


def test_descriptors_are_pairs() -> None:
    """The last equals sign parts them; anything else is refused."""
    assert named(["a.B/c=x"]) == {"a.B/c": "x"}
    for wrong in ("a", "=x", "a="):
        with pytest.raises(ConfigError, match="identity=descriptor"):
            named([wrong])
