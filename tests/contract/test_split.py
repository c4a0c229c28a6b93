"""Every form of taking a batch apart and sealing it behaves alike; what comes out is opened by the readable one."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.contract.batches import STAGES, Stages
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import CompiledSchema, DeclarationOptions, compile_schema, encode_value, frame, open_schema
from worker.encryption import BatchDecryptor, LeasedEnvelope
from worker.errors import KeyServiceUnavailable
from worker.model import DataKey, KeySpec, Position, Sealed, SourceRecord, Split, Value

PREFIX = frame(9)
stages = pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES.keys())
formats = pytest.mark.parametrize("format", ["record", "leased"])


def schema(format: str) -> str:
    said: dict[str, object] = {"format": format, "context": ["tenant"]}
    if format == "leased":
        said["bind"] = ["$key", "id"]
    note = {
        "type": "record",
        "name": "Note",
        "fields": [{"name": "text", "type": "string", "encrypted": {"format": format}}],
    }
    fields = [
        {"name": "id", "type": "long"},
        {"name": "tenant", "type": "string"},
        {"name": "email", "type": "string", "encrypted": said},
        {"name": "phone", "type": ["null", "string"], "encrypted": {"format": format}},
        {"name": "notes", "type": {"type": "array", "items": note}},
    ]
    return json.dumps({"type": "record", "name": "Person", "fields": fields})


def datum(format: str, number: int) -> bytes:
    bare = json.loads(schema(format))
    value = {"id": number, "tenant": f"t{number % 2}", "email": f"e{number}@example.org"}
    value |= {
        "phone": None if number % 3 == 0 else f"+49 {number}",
        "notes": [{"text": "x" * n} for n in range(number % 4)],
    }
    for field in bare["fields"]:
        field.pop("encrypted", None)
    bare["fields"][4]["type"]["items"]["fields"][0].pop("encrypted")
    return encode_value(json.dumps(bare), value)


class Authority(InMemoryAuthority):
    """Can be away."""

    away = False

    def take(self, spec: KeySpec, count: int) -> list[DataKey]:
        if self.away:
            raise KeyServiceUnavailable("away")
        return super().take(spec, count)


class Case:
    """Twelve records of one schema on their way through one form's stages."""

    def __init__(self, stages: Stages, format: str, broken: Sequence[int] = ()) -> None:
        self.authority = Authority()
        self.compiled: CompiledSchema = compile_schema(schema(format), DeclarationOptions())
        self.datums = [datum(format, n)[: -1 if n in broken else None] for n in range(12)]
        self.keys = [b"key-%d" % n for n in range(12)]
        records = [
            SourceRecord(Position("in", n // 6, n), self.keys[n], b"\0\0\0\0\7" + self.datums[n]) for n in range(12)
        ]
        self.split: Split = stages.split(self.compiled, stages.build(records), self.keys, 5)
        self.encryptor = stages.encryptor(self.authority)

    def seal(self) -> Sealed:
        return self.encryptor.seal([(self.split, PREFIX)])[0]

    def opened(self, sealed: Sealed) -> list[bytes | None]:
        """Read the sealed records back with the plain form."""
        reader = open_schema(self.compiled.plan.output_schema)
        kept = [i for i, data in enumerate(sealed.data) if data is not None]
        found: list[bytes | None] = [None] * len(sealed.data)
        assert all((sealed.data[i] or b"").startswith(PREFIX) for i in kept)
        split = reader.split([(sealed.data[i] or b"")[5:] for i in kept], [self.keys[i] for i in kept])
        plain = BatchDecryptor(self.authority).decrypt(split.columns)
        assert not plain.errors
        for i, data in zip(kept, split.join([[v or b"" for v in c] for c in plain.values]), strict=True):
            found[i] = data
        return found


@stages
@formats
def test_what_is_sealed_opens_to_what_was(stages: Stages, format: str) -> None:
    """Every record comes back byte for byte, behind the output's frame, and holds no declared value in the clear."""
    case = Case(stages, format)

    sealed = case.seal()

    assert len(case.split) == 12
    assert not case.split.errors
    assert case.opened(sealed) == case.datums
    assert not any(b"@example" in (data or b"") or b"+49" in (data or b"") for data in sealed.data)


@stages
@formats
def test_a_record_that_does_not_decode_fails_alone(stages: Stages, format: str) -> None:
    """It has an error, no value in any column, no key and no output; its neighbours are whole."""
    case = Case(stages, format, broken=[0, 7])

    sealed = case.seal()

    assert {i: error.code for i, error in case.split.errors.items()} == {0: "decode_failed", 7: "decode_failed"}
    assert not any({0, 7} & set(column.records) for column in case.split.columns)
    assert case.opened(sealed) == [None if n in (0, 7) else case.datums[n] for n in range(12)]


@stages
def test_what_is_dropped_gets_no_key(stages: Stages) -> None:
    """A record that residency refuses takes no key, and is not put together; dropping it again changes nothing."""
    case = Case(stages, "record")
    whole = Case(stages, "record")

    case.split.drop({1, 5, 11})
    case.split.drop({5})
    sealed = case.seal()
    whole.seal()

    assert case.opened(sealed) == [None if n in (1, 5, 11) else case.datums[n] for n in range(12)]
    # Values of 1, 5, 11: an email each, a phone each, and 1, 1 and 3 notes.
    assert len(whole.authority.generated) - len(case.authority.generated) == 11


@stages
@formats
def test_usage_adds_up(stages: Stages, format: str) -> None:
    """Values by field, by keyset and format, and by stretch of records are the same values."""
    case = Case(stages, format)

    sealed = case.seal()

    by_field = {used.plan.identity.partition("/")[2][:5]: used.values for used in sealed.fields}
    assert by_field == {"email": 12, "phone": 8, "notes": 18}
    assert sum(usage.values for usage in sealed.usage) == 38
    assert {usage.format for usage in sealed.usage} == {format}
    names = frozenset(plan.descriptor for plan in case.compiled.plan.fields)
    assert frozenset().union(*(usage.descriptors for usage in sealed.usage)) == names
    counts = [case.split.count(sealed.usage[0].format, names, range(n, n + 3)) for n in range(0, 12, 3)]
    assert sum(counts) == 38
    assert case.split.count("record" if format == "leased" else "leased", names, range(12)) == 0
    assert sum(used.plaintext_bytes for used in sealed.fields) == sum(
        len(value) for column in case.split.columns for value in column.values
    )
    assert sum(used.ciphertext_bytes for used in sealed.fields) == sum(
        len(envelope) for column in sealed.envelopes for envelope in column
    )


@stages
@formats
def test_envelopes_stand_beside_their_values(stages: Stages, format: str) -> None:
    """For whoever looks: each envelope opens to the value at its place."""
    case = Case(stages, format)

    sealed = case.seal()

    columns = [
        type(column)(column.plan, list(envelopes), column.records, column.contexts, column.binds)
        for column, envelopes in zip(case.split.columns, sealed.envelopes, strict=True)
    ]
    opened = BatchDecryptor(case.authority).decrypt(columns)
    assert opened.values == [column.values for column in case.split.columns]


@stages
@pytest.mark.parametrize(
    ("tenants", "each"), [(100, 5), (3, 6)], ids=["many contexts", "as many leases of a context as contexts"]
)
def test_a_context_s_values_get_its_keys_in_the_records_order(stages: Stages, tenants: int, each: int) -> None:
    """In whatever order they are sealed: contexts by turns, some records each, two values a key."""
    count = each * tenants
    declared = {"format": "leased", "context": ["tenant"]}
    fields = [{"name": "tenant", "type": "string"}, {"name": "email", "type": "string", "encrypted": declared}]
    compiled = compile_schema(json.dumps({"type": "record", "name": "Mail", "fields": fields}), DeclarationOptions())
    texts = [(f"t{n % tenants}".encode(), b"x" * (n % 7)) for n in range(count)]
    datums = [b"".join(bytes((2 * len(text),)) + text for text in pair) for pair in texts]
    records = [SourceRecord(Position("in", 0, n), None, b"\0\0\0\0\7" + datum) for n, datum in enumerate(datums)]
    authority = InMemoryAuthority(lease_values=2)
    split = stages.split(compiled, stages.build(records), [None] * count, 5)

    [sealed] = stages.encryptor(authority).seal([(split, PREFIX)])

    back = open_schema(compiled.plan.output_schema).split([(data or b"")[5:] for data in sealed.data], [None] * count)
    plain = BatchDecryptor(authority).decrypt(back.columns)
    assert back.join([[value or b"" for value in column] for column in plain.values]) == datums
    given: dict[object, list[bytes]] = {}
    for spec, key in zip(authority.specs, authority.generated, strict=True):
        given.setdefault(spec.context, []).extend([key.iv] * 2)
    taken: dict[object, list[bytes]] = {}
    for n, envelope in enumerate(sealed.envelopes[0]):
        taken.setdefault((Value("tenant", f"t{n % tenants}"),), []).append(LeasedEnvelope.parse(envelope).iv)
    assert taken == {context: ivs[:each] for context, ivs in given.items()}


@stages
def test_a_root_sibling_is_told_as_text(stages: Stages) -> None:
    """One text a record, None where it does not decode."""
    compiled = compile_schema(schema("record"), DeclarationOptions(), extract=("tenant",))
    values = [b"\0\0\0\0\7" + datum("record", n) for n in range(3)] + [b"\0\0\0\0\7"]
    records = [SourceRecord(Position("in", 0, n), None, value) for n, value in enumerate(values)]

    split = stages.split(compiled, stages.build(records), [None] * 4, 5)

    assert list(split.extracted("tenant")) == ["t0", "t1", "t0", None]


@stages
def test_nothing_declared_passes_as_it_is(stages: Stages) -> None:
    """Only the frame is exchanged, and no key is asked for."""
    compiled = compile_schema(
        json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}), DeclarationOptions()
    )
    batch = stages.build([SourceRecord(Position("in", 0, 0), None, b"\0\0\0\0\7\x02a")])
    authority = InMemoryAuthority()

    sealed = stages.encryptor(authority).seal([(stages.split(compiled, batch, [None], 5), PREFIX)])[0]

    assert list(sealed.data) == [PREFIX + b"\x02a"]
    assert not authority.generated
    assert (list(sealed.usage), list(sealed.fields)) == ([], [])


@stages
@formats
def test_without_keys_nothing_comes_out(stages: Stages, format: str) -> None:
    """The whole call fails, and may be made again."""
    case = Case(stages, format)
    case.authority.away = True

    with pytest.raises(KeyServiceUnavailable):
        case.seal()

    case.authority.away = False
    assert case.opened(case.seal()) == case.datums


@stages
@formats
def test_a_record_of_too_many_values_leaves_nothing_behind(stages: Stages, format: str) -> None:
    """Values, nulls and sized blocks each count; the records beside it are whole, and it is known before any key."""
    text = {"name": "x", "type": ["null", "string"], "encrypted": {"format": format}}
    line = {"type": "record", "name": "Line", "fields": [text]}
    lines = {"name": "lines", "type": {"type": "array", "items": line}}
    compiled = compile_schema(json.dumps({"type": "record", "name": "R", "fields": [lines]}), DeclarationOptions())
    value, null, end = b"\2\2a", b"\0", b"\0"
    datums = {
        "values, as many as there may be": b"\10" + value * 4 + end,
        "values, one too many": b"\12" + value * 5 + end,
        "nulls, as many as there may be": b"\10" + null * 4 + end,
        "nulls, one too many": b"\12" + null * 5 + end,
        "blocks, as many as there may be": (b"\1\6" + value) * 2 + end,
        "blocks, one too many": (b"\1\6" + value) * 2 + b"\2" + value + end,
        "nothing": end,
    }
    records = [SourceRecord(Position("in", 0, n), None, b"\0\0\0\0\7" + d) for n, d in enumerate(datums.values())]
    authority = InMemoryAuthority()

    split = stages.split(compiled, stages.build(records), [None] * len(datums), 5, 4)
    sealed = stages.encryptor(authority).seal([(split, PREFIX)])[0]

    assert {name for i, name in enumerate(datums) if i in split.errors} == {n for n in datums if "too many" in n}
    assert {error.code for error in split.errors.values()} == {"too_large"}
    assert [i for i, data in enumerate(sealed.data) if data is None] == list(split.errors)
    assert len(authority.generated) == (6 if format == "record" else 1)
