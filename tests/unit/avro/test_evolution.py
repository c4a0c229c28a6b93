"""The table of evolutions in docs/avro.md, row by row: what follows a declaration, and what refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.unit.avro.test_declaration import field, refused
from worker.avro import DeclarationOptions, FieldOptions, SchemaVersion, compile_schema
from worker.avro.history import around
from worker.avro.keys import KeySchema
from worker.errors import DeclarationError

DOC = Path(__file__).resolve().parents[3] / "docs" / "avro.md"
NONE = DeclarationOptions()
Verdict = Literal["followed", "refused", "nothing there"]


def rows() -> dict[str, tuple[str, ...]]:
    """The second table's rows by their first cell."""
    lines = DOC.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| evolution "))
    table = lines[start + 2 : next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {first: tuple(rest) for first, *rest in cells}


def record(name: str, *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def without(value: Any) -> Any:
    """The same JSON without any declaration."""
    if isinstance(value, list):
        return [without(item) for item in value]
    if isinstance(value, dict):
        return {name: without(inner) for name, inner in value.items() if name != "encrypted"}
    return value


@dataclass(frozen=True)
class Move:
    """Two versions that both declare, and what becomes of each question the table asks."""

    old: Any
    new: Any
    kept: Verdict
    dropped: Verdict = "refused"
    before: Verdict = "followed"
    references: tuple[Any, ...] = ()


ID = field("id", "long")
EMAIL = field("email", encrypted=True)
INNER = record("Inner", field("x", encrypted=True))
OTHER = record("Other", field("y", "long"))
ROOT = record("n.A", ID, EMAIL)


def holding(kind: Any, **more: Any) -> dict[str, Any]:
    return record("n.A", ID, field("i", kind, **more))


MOVES: dict[str, list[Move]] = {
    "nothing but documentation, order or defaults": [
        Move(ROOT, record("n.A", {**EMAIL, "doc": "d", "default": "", "order": "ignore"}, ID), "followed")
    ],
    "the record's namespace or name": [
        Move(ROOT, {**ROOT, "name": "m.A"}, "followed"),
        Move(ROOT, {**ROOT, "name": "n.B"}, "followed"),
        Move(ROOT, {**ROOT, "name": "m.B", "aliases": ["n.A"]}, "followed"),
    ],
    "the field's name, with an alias": [
        Move(ROOT, record("n.A", ID, field("mail", aliases=["email"], encrypted=True)), "followed"),
        Move(record("n.A", field("mail", aliases=["email"], encrypted=True)), record("n.A", EMAIL), "followed"),
        Move(
            record("n.A", field("a", aliases=["was"], encrypted=True)),
            record("n.A", field("b", aliases=["was"], encrypted=True)),
            "followed",
        ),
    ],
    "the field's name, without one": [
        Move(ROOT, record("n.A", ID, field("mail", encrypted=True)), "refused", before="refused"),
        Move(ROOT, record("n.A", ID, field("mail", ["null", "bytes"], encrypted=True)), "refused", before="refused"),
    ],
    "its name or alias goes to a clear field beside it": [
        Move(ROOT, record("n.A", ID, EMAIL, field("login", aliases=["email"])), "refused", before="followed"),
    ],
    "a nested record's name or namespace": [
        Move(holding(INNER), holding({**INNER, "name": "Moved"}), "followed"),
        Move(holding(INNER), holding({**INNER, "namespace": "m"}), "followed"),
        Move(holding(["null", INNER]), holding(["null", {**INNER, "name": "Moved"}]), "followed"),
    ],
    "a nested type moves into a reference": [
        Move(holding(INNER), holding("m.Inner"), "followed", references=({**INNER, "namespace": "m"},)),
    ],
    "branches of a union: another name, order or number": [
        Move(holding(["null", INNER, OTHER]), holding([OTHER, INNER, "null"]), "followed"),
        Move(holding(["null", INNER, OTHER]), holding(["null", {**INNER, "name": "Moved"}, OTHER]), "followed"),
        Move(holding(["null", INNER]), holding(["null", INNER, OTHER, "string"]), "followed"),
        Move(holding(["string", INNER]), holding(INNER), "followed"),
    ],
    "the branch that held it goes": [
        Move(holding([INNER, OTHER]), holding(OTHER), "refused", before="nothing there"),
        Move([ROOT, record("n.B", ID)], record("n.B", ID), "refused", before="nothing there"),
    ],
    "the root becomes a union of records, or one of them": [
        Move(ROOT, [ROOT, record("n.B", ID)], "followed"),
        Move([ROOT, record("n.B", ID, EMAIL)], record("n.C", ID, EMAIL), "followed"),
    ],
    "an array, map or union around it": [
        Move(ROOT, record("n.A", ID, {**EMAIL, "type": {"type": "array", "items": "string"}}), "followed"),
        Move(ROOT, record("n.A", ID, {**EMAIL, "type": ["null", "string"]}), "followed"),
        Move(holding(INNER), holding({"type": "array", "items": INNER}), "followed"),
        Move(
            holding({"type": "array", "items": INNER}), holding({"type": "map", "values": ["null", INNER]}), "followed"
        ),
    ],
    "into a sub-record, or out of one": [
        Move(ROOT, record("n.A", ID, field("contact", record("C", EMAIL))), "refused", before="refused"),
        Move(record("n.A", ID, field("contact", record("C", EMAIL))), ROOT, "refused", before="refused"),
        Move(ROOT, record("n.Envelope", field("payload", ROOT)), "refused", before="refused"),
    ],
    "one field becomes a record": [
        Move(ROOT, record("n.A", ID, field("email", record("E", field("user", encrypted=True)))), "followed"),
        Move(
            ROOT,
            record("n.A", ID, field("email", record("E", field("user", encrypted=True), field("host")))),
            "refused",
        ),
        Move(
            record("n.A", field("tags", {"type": "map", "values": "string"}, encrypted=True)),
            record("n.A", field("tags", {"type": "map", "values": record("T", field("v", encrypted=True))})),
            "refused",
        ),
    ],
    "a record becomes one field": [
        Move(holding(INNER), holding("string", encrypted=True), "followed"),
        Move(holding(record("Inner", ID, field("x", encrypted=True))), holding("string", encrypted=True), "followed"),
    ],
    "a declaration around it instead": [
        Move(holding(INNER), holding(without(INNER), encrypted=True), "followed"),
        Move(holding(INNER), holding(record("Inner", field("z")), encrypted=True), "followed", before="followed"),
    ],
    "another type of value": [
        Move(ROOT, record("n.A", ID, {**EMAIL, "type": "bytes"}), "followed"),
        Move(ROOT, record("n.A", ID, {**EMAIL, "type": {"type": "enum", "name": "E", "symbols": ["A"]}}), "followed"),
    ],
    "the field is gone": [
        Move(ROOT, record("n.A", ID), "refused", before="nothing there"),
        Move(holding(INNER), holding(record("Inner", ID)), "refused", before="nothing there"),
    ],
    "the field is new": [Move(record("n.A", ID), ROOT, "followed", before="nothing there")],
}
CASES = [(row, move) for row, moves in MOVES.items() for move in moves]


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    """The table and the cases name the same evolutions, and say the same of each."""
    assert list(rows()) == list(MOVES)


def text(value: Any) -> str:
    return json.dumps(value)


def verdict(schema: Any, named: str, references: Sequence[str] = (), **more: Any) -> Verdict:
    """What becomes of a schema beside other versions; a refusal names the one it is for."""
    try:
        plan = compile_schema(SchemaVersion(text(schema), tuple(references)), NONE, **more).plan
    except DeclarationError as exc:
        return "refused" if named in str(exc) else "nothing there"
    return "followed" if plan.fields else "nothing there"


@pytest.mark.parametrize(("row", "move"), CASES, ids=[f"{row} {n}" for n, (row, _) in enumerate(CASES)])
def test_what_becomes_of_a_declaration(row: str, move: Move) -> None:
    """Kept at its new place, dropped on the way, and made only after the move: each as the table says."""
    earlier = [SchemaVersion(text(move.old), label="v1")]
    clear = [text(without(r)) for r in move.references]

    assert verdict(move.new, "v1", references=[text(r) for r in move.references], earlier=earlier) == move.kept
    if move.old != without(move.old):
        assert verdict(without(move.new), "v1", references=clear, earlier=earlier) == move.dropped


@pytest.mark.parametrize(("row", "move"), CASES, ids=[f"{row} {n}" for n, (row, _) in enumerate(CASES)])
def test_what_a_later_declaration_makes_of_an_earlier_version(row: str, move: Move) -> None:
    """A version still in use is encrypted where the declaration of a later one finds it, or refused."""
    later = SchemaVersion(text(move.new), tuple(map(text, move.references)), label="v2")

    assert verdict(without(move.old), "v2", later=[later]) == move.before


def test_a_field_renamed_twice_is_followed_through_the_versions_between() -> None:
    """Each version's alias tells of the one before it only."""
    line = [
        text(record("n.A", field("a", encrypted=True))),
        text(record("n.A", field("b", aliases=["a"], encrypted=True))),
        text(record("n.A", field("c", aliases=["b"], encrypted=True))),
    ]
    versions = [SchemaVersion(t, label=f"v{n}") for n, t in enumerate(line, 1)]
    clear = [text(without(json.loads(t))) for t in line]

    compile_schema(line[2], NONE, earlier=versions[:2])
    assert "n.A/a" in refused(clear[2], earlier=[versions[0], SchemaVersion(clear[1])])
    plan = compile_schema(clear[0], NONE, later=[SchemaVersion(clear[1]), versions[2]]).plan
    assert [f.identity for f in plan.fields] == ["n.A/a"]


def test_a_later_declaration_brings_its_options() -> None:
    """What a later version says of a field counts for an earlier one, which keeps its own identity."""
    said = {"format": "leased", "keyset": "crm", "context": ["id"], "null": "encrypt"}
    later = SchemaVersion(text(record("m.A", ID, field("mail", aliases=["email"], encrypted=said))))

    (plan,) = compile_schema(text(record("n.A", ID, field("email"))), NONE, later=[later]).plan.fields

    assert (plan.identity, plan.format, plan.keyset, plan.context) == ("n.A/email", "leased", "crm", ("id",))


def test_the_latest_word_counts() -> None:
    """Of several later versions the last one that declares the field decides."""
    later = [SchemaVersion(text(record("n.A", field("email", encrypted={"format": f})))) for f in ("record", "leased")]

    (plan,) = compile_schema(text(record("n.A", field("email", encrypted=False))), NONE, later=later).plan.fields

    assert plan.format == "leased"


def test_a_later_declaration_that_cannot_be_kept_here_is_refused_naming_it() -> None:
    """An earlier version without the context's sibling can't be encrypted as the later one says."""
    later = SchemaVersion(text(record("n.A", ID, field("email", encrypted={"context": ["id"]}))), label="v2")

    with pytest.raises(DeclarationError, match=r"n\.A/email: 'id' is no clear sibling.*v2 declares it"):
        compile_schema(text(record("n.A", field("email"))), NONE, later=[later])


def test_a_path_policy_and_a_tag_count_as_declarations_of_a_version() -> None:
    """What the config declares by a name goes on counting when the name moves."""
    options = DeclarationOptions(paths={"n.A/email": FieldOptions()}, tags={"PII": FieldOptions()})
    tagged = record("n.A", ID, field("phone", **{"confluent:tags": ["PII"]}))
    moved = record("m.B", ID, field("email"), field("phone"))

    for old in (without(ROOT), tagged):
        assert "n.A/" in refused(text(moved), options, earlier=[SchemaVersion(text(old))])


def test_a_required_path_follows_its_record_to_another_name() -> None:
    """`required` names a record that an earlier version was: the path must be encrypted under the new name too."""
    options = DeclarationOptions(required=("n.A/email",))
    clear = SchemaVersion(text(record("n.A", ID)))

    assert "n.A/email" in refused(text(record("m.B", ID, field("email"))), options, earlier=[clear])
    assert "n.A/email" in refused(text(record("m.B", ID)), options, earlier=[clear])
    compile_schema(text(record("m.B", ID, EMAIL)), options, earlier=[clear])
    compile_schema(text(record("m.B", ID)), options.model_copy(update={"allow_lost": ("n.A/email",)}), earlier=[clear])


def test_allow_lost_names_what_was_declared_or_where_it_stands_now() -> None:
    """Either name lets a moved path become clear, and no other path with it."""
    old = [SchemaVersion(text(record("n.A", EMAIL, field("phone", encrypted=True))))]
    new = text(record("m.B", field("email"), field("phone", encrypted=True)))

    for name in ("n.A/email", "m.B/email"):
        compile_schema(new, DeclarationOptions(allow_lost=(name,)), earlier=old)
    gone = text(record("m.B", field("phone", encrypted=True)))
    compile_schema(gone, DeclarationOptions(allow_lost=("n.A/email",)), earlier=old)
    assert "n.A/phone" in refused(
        text(record("m.B", EMAIL)), DeclarationOptions(allow_lost=("n.A/email",)), earlier=old
    )


def test_a_field_that_is_meant_clear_is_no_rename() -> None:
    """`false` says that what is gone in the later version is another field than the one declared there."""
    later = [SchemaVersion(text(ROOT))]

    assert "n.A/nick" in refused(text(record("n.A", ID, field("nick"))), later=later)
    compile_schema(text(record("n.A", ID, field("nick", encrypted=False))), NONE, later=later)


def test_recursive_types_are_followed_once() -> None:
    """A tree of replies ends the walk where the type comes back."""
    node = record("n.Node", field("text", encrypted=True), field("replies", {"type": "array", "items": "n.Node"}))
    moved = record("m.Post", field("text"), field("replies", {"type": "array", "items": "m.Post"}))

    assert "m.Post/text" in refused(text(moved), earlier=[SchemaVersion(text(node))])
    plan = compile_schema(text(moved), NONE, later=[SchemaVersion(text(node))]).plan
    assert [f.identity for f in plan.fields] == ["m.Post/text"]


def test_versions_of_another_subject_are_a_line_of_their_own() -> None:
    """A name that one subject gave and another never had is judged in its own line."""
    line = [
        SchemaVersion(text(record("n.A", field("a", encrypted=True))), subject="one"),
        SchemaVersion(text(record("n.A", field("b", aliases=["a"], encrypted=True))), subject="one"),
        SchemaVersion(text(record("n.A", ID)), subject="two"),
    ]

    compile_schema(text(record("n.A", field("c", aliases=["b"], encrypted=True))), NONE, earlier=line)


def test_keys_are_followed_too() -> None:
    """A key's declaration that was dropped, or comes later, neither passes in the clear nor beside a pseudonym."""
    old, clear = text(ROOT), text(without(ROOT))
    other = text(record("n.A", field("email"), {**ID, "encrypted": True}))

    with pytest.raises(DeclarationError, match="A/email"):
        KeySchema(clear, NONE, earlier=[SchemaVersion(old)]).refuse_declarations()
    with pytest.raises(DeclarationError, match="A/email"):
        KeySchema(clear, NONE, later=[SchemaVersion(old)]).refuse_declarations()
    with pytest.raises(DeclarationError, match="A/email"):
        KeySchema(other, NONE, earlier=[SchemaVersion(old)])
    assert KeySchema(clear, NONE, earlier=[SchemaVersion(old)]).fields == ()


def test_a_file_is_compared_with_its_own_record_among_several() -> None:
    """Files of other records, and other topics' subjects, are no versions of it; a subject renamed its record."""
    mine, others = text(ROOT), text(record("n.Order", field("iban", encrypted=True)))
    files = [SchemaVersion(mine, label="1"), SchemaVersion(others, label="2")]
    subjects = [SchemaVersion(mine, subject="a"), SchemaVersion(others, subject="b")]

    assert around(files, mine) == ((files[0],), ())
    assert around(subjects, mine) == ((subjects[0],), ())
    assert around(files[1:], mine) == ((), ())
    assert around(subjects[:1], text(record("m.Renamed", ID))) == ((subjects[0],), ())
