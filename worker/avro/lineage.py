"""
One subject's versions laid beside each other: where a field of one version stands in another.

Names of types are no identity: two records correspond because they stand at the same place. From the roots down, a
field goes with the fields that have its name or share an alias, through arrays, maps and unions; of a union's records
those go together that share a name, and of the rest any with any. Where one version has a record and the other has
none, what was declared within goes to the field that took its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from worker.avro.declaration import DeclarationOptions, FieldOptions, decide, read_tags
from worker.avro.history import SchemaVersion, tags_at
from worker.avro.nearmiss import near_misses
from worker.avro.schema import Field, Node, aliases, parse
from worker.avro.shape import Shape, Walker, joined
from worker.errors import DeclarationError

_ALIKE = {"string": "text", "bytes": "text", "int": "number", "long": "number", "float": "number", "double": "number"}


@dataclass(frozen=True, slots=True)
class Owed:
    """
    A field that some version declares.

    Args:
        identity: its own, in that version.
        label: what to call the version.
        said: what it is to be encrypted with.
        guessed: whether it is only where it could have stood before a rename that no alias tells of.
    """

    identity: str
    label: str
    said: FieldOptions = field(compare=False)
    guessed: bool = field(default=False, compare=False)


Marks = dict[str, dict[Owed, Owed]]
"""What is owed, by the place (own identity) of a field in one version; each once."""
_Version = tuple[Shape, Marks]


class Lineage:
    """
    What a schema owes to the other versions of its subjects.

    Args:
        root: of the schema.
        options: the operator's policies.
        earlier: versions before it; what one of them declares must be encrypted here.
        later: versions after it; what one of them declares is encrypted here too, where it stands here.

    `demanded` and `followed` hold places of this schema, `missing` what has no place of its own here, `around` places
    within which it was, and `names` the names that earlier versions gave their roots.

    Raises:
        DeclarationError: another version can't be read; the message says what to do.
    """

    def __init__(
        self,
        root: Node,
        options: DeclarationOptions,
        earlier: Sequence[SchemaVersion] = (),
        later: Sequence[SchemaVersion] = (),
    ) -> None:
        self.demanded: Marks = {}
        self.around: Marks = {}
        self.followed: Marks = {}
        self.missing: list[Owed] = []
        self.names: set[str] = set()
        if not earlier and not later:
            return
        own = Walker(lambda _item, _identities, _record: None).root(root)
        for line in _lines(earlier):
            versions = [_read(version, options) for version in line]
            reached = _reaching(own, versions, around=self.around)
            _collect(self.demanded, reached)
            found = {owed for place in reached.values() for owed in place}
            self.missing += [o for _, marks in versions for place in marks.values() for o in place if o not in found]
            self.names.update(name for top, _ in versions for record in records_at(top) for name in record.node.names)
        for line in _lines(later):
            for place, owed in _reaching(own, [_read(v, options) for v in reversed(line)], guess=True).items():
                sure = {o: o for o in owed.values() if not o.guessed}
                _collect(self.followed if sure else self.demanded, {place: sure or owed})


def _lines(versions: Sequence[SchemaVersion]) -> Iterator[list[SchemaVersion]]:
    """Part versions by subject, each in order."""
    subjects: dict[str, list[SchemaVersion]] = {}
    for version in versions:
        subjects.setdefault(version.subject, []).append(version)
    yield from subjects.values()


def _reaching(own: Shape, versions: Sequence[_Version], *, guess: bool = False, around: Marks | None = None) -> Marks:
    """Carry what versions declare here: from each at once, and from one into the next, for a field renamed twice."""
    marks: Marks = {}
    for n, (top, declared) in enumerate(versions):
        _collect(marks, declared)
        marks = _carried(top, versions[n + 1][0] if n + 1 < len(versions) else own, marks, guess=guess)
    for top, declared in versions:
        _collect(marks, _carried(top, own, declared, around=around))
    return marks


def _collect(into: Marks, marks: Marks) -> None:
    for place, owed in marks.items():
        known = into.setdefault(place, {})
        for o in owed.values():
            if o not in known or known[o].guessed:
                known[o] = o


def _read(version: SchemaVersion, options: DeclarationOptions) -> _Version:
    """
    Read a version's shape and every place that it declares encrypted, by property, policy or tag.

    Whether the version would be taken is not asked: whoever wrote a declaration, or slipped, meant the field.
    """
    marks: Marks = {}

    def visit(item: Field, identities: tuple[str, ...], record: Node) -> None:
        said = _said(item, identities, record, version, options)
        if said is not None:
            owed = Owed(identities[0], version.label, said)
            marks.setdefault(identities[0], {})[owed] = owed

    try:
        return Walker(visit).root(parse(version.schema, version.references)), marks
    except DeclarationError as exc:
        message = f"what {version.label} protects can't be read; delete that version in the registry: {exc}"
        raise DeclarationError(message, path=exc.path) from exc


def _said(
    item: Field, identities: tuple[str, ...], record: Node, version: SchemaVersion, options: DeclarationOptions
) -> FieldOptions | None:
    tags = tags_at(version.metadata_tags, f"{record.name}.{item.name}")
    meant = (
        item.attributes.get("encrypted", False) is not False
        or "encryption" in item.attributes
        or any(near_misses(item.attributes, {"encrypted", "encryption", *options.ignore_properties}))
        or any(tag in options.tags for tag in (*read_tags(item.attributes, identities[0]), *tags))
        or any(identity in options.paths or identity in options.required for identity in identities)
    )
    if not meant:
        return None
    try:
        said = decide(item.attributes, identities, tags, options)
    except DeclarationError:
        said = None
    return said if isinstance(said, FieldOptions) else FieldOptions()


def _carried(
    top: Shape,
    own: Shape,
    marks: Marks,
    *,
    guess: bool = False,
    around: Marks | None = None,
) -> Marks:
    """
    Carry what is owed at places of one schema to the places that correspond in another.

    Args:
        top: the one.
        own: the other.
        marks: what is owed at the one's places.
        guess: take fields that are gone into account for those that are new.
        around: filled with what is owed somewhere within each of the other's places.
    """
    reached: Marks = {}
    seen: set[tuple[int, int]] = set()
    met: dict[int, set[str]] = {}
    stack = list(_pairs(records_at(top), records_at(own)))
    while stack:
        there, here = stack.pop()
        if (id(there), id(here)) in seen:
            continue
        seen.add((id(there), id(here)))
        for item, inside in _fields(there):
            for target, below in _counterparts(item, here):
                met.setdefault(id(here), set()).add(target.name)
                inner, records = records_at(inside), records_at(below)
                owed = dict(marks.get(joined(there.path, item.name), {}))
                within = _within(inner, marks)
                if not records:
                    owed.update(within)
                elif around is not None:
                    _collect(around, {joined(here.path, target.name): within})
                if owed:
                    _collect(reached, {joined(here.path, target.name): owed})
                stack += _pairs(inner, records)
    if guess:
        _collect(reached, _guessed(top, own, marks, reached, met))
    return reached


def _guessed(top: Shape, own: Shape, marks: Marks, reached: Marks, met: Mapping[int, set[str]]) -> Marks:
    """
    Return where declared fields that are new in one schema may have stood in the other before it.

    A field of the other that is gone, and can hold the same kind of value, may be the new one under its old name.
    """
    found = {owed for place in reached.values() for owed in place}
    new = {
        replace(owed, guessed=True): _kinds(inside)
        for place, inside in _places(top)
        for owed in marks.get(place, ())
        if owed not in found
    }
    guesses: Marks = {}
    stack = records_at(own)
    seen: set[int] = set()
    while stack and new:
        record = stack.pop()
        if id(record) in seen:
            continue
        seen.add(id(record))
        for item, inside in _fields(record):
            if item.name in met.get(id(record), ()):
                stack += records_at(inside)
            elif item.attributes.get("encrypted") is not False:
                owed = {o: o for o, kinds in new.items() if kinds & _kinds(inside)}
                _collect(guesses, {joined(record.path, item.name): owed} if owed else {})
    return guesses


def _places(top: Shape) -> Iterator[tuple[str, Shape]]:
    for record in _all_records(records_at(top)):
        yield from ((joined(record.path, item.name), inside) for item, inside in _fields(record))


def _fields(record: Shape) -> Iterator[tuple[Field, Shape]]:
    for item, child in zip(record.node.fields, record.children, strict=True):
        assert isinstance(child, Shape)
        yield item, child


def _counterparts(item: Field, record: Shape) -> Iterator[tuple[Field, Shape]]:
    """Yield the fields of a record that have a field's name or share an alias with it."""
    known = {item.name, *aliases(item.attributes, item.name)}
    for target, below in _fields(record):
        if target.name in known or not known.isdisjoint(aliases(target.attributes, target.name)):
            yield target, below


def records_at(shape: Shape) -> list[Shape]:
    """Return the records that stand at a place, looked at through arrays, maps and unions."""
    if shape.node.kind == "record":
        return [shape]
    return [record for child in shape.children if isinstance(child, Shape) for record in records_at(child)]


def _pairs(there: Sequence[Shape], here: Sequence[Shape]) -> Iterator[tuple[Shape, Shape]]:
    alike = [(a, b) for a in there for b in here if not _simple_names(a.node).isdisjoint(_simple_names(b.node))]
    yield from alike
    known = {id(shape) for pair in alike for shape in pair}
    yield from ((a, b) for a in there if id(a) not in known for b in here if id(b) not in known)


def _simple_names(node: Node) -> set[str]:
    """Return a record's names and aliases without namespaces: to move to another one is no new name."""
    return {name.rpartition(".")[2] for name in node.names}


def _within(records: Sequence[Shape], marks: Marks) -> dict[Owed, Owed]:
    """Return all that is owed within records."""
    found: dict[Owed, Owed] = {}
    for record in records:
        for place, _ in _places(record):
            found.update(marks.get(place, {}))
    return found


def _all_records(records: Sequence[Shape]) -> Iterator[Shape]:
    seen: set[int] = set()
    stack = list(records)
    while stack:
        shape = stack.pop()
        if id(shape) not in seen:
            seen.add(id(shape))
            yield shape
            stack += [record for _, child in _fields(shape) for record in records_at(child)]


def _kinds(shape: Shape) -> set[str]:
    """Return the kinds of value that a place can hold, those that Avro promotes into one another as one."""
    if shape.node.kind == "record":
        return {kind for record in _all_records([shape]) for _, child in _fields(record) for kind in _bare_kinds(child)}
    return _bare_kinds(shape) | {k for record in records_at(shape) for k in _kinds(record)}


def _bare_kinds(shape: Shape) -> set[str]:
    kind = shape.node.kind
    if kind in ("union", "array", "map"):
        return {k for child in shape.children if isinstance(child, Shape) for k in _bare_kinds(child)}
    return set() if kind in ("null", "record") else {_ALIKE.get(kind, kind)}
