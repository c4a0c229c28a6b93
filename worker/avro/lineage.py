"""
One subject's versions laid beside each other: where a field of one version stands in another.

Names of types are no identity: two records correspond because they stand at the same place. From the roots down, a
field goes with the fields that have its name or share an alias, through arrays, maps and unions; of a union's records
those go together that share a name, and of the rest any with any. Where one version has a record and the other has
none, what was declared within goes to the field that took its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from worker.avro.declaration import DeclarationOptions
from worker.avro.history import SchemaVersion
from worker.avro.owed import Marks, Owed, Version, read_version
from worker.avro.places import counterparts, fields_of, kinds_at, pairs_of, places_in, records_at
from worker.avro.schema import Node
from worker.avro.shape import Shape, Walker, joined


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
            versions = [read_version(version, options) for version in line]
            reached = _reaching(own, versions, around=self.around)
            _collect(self.demanded, reached)
            found = {owed for place in reached.values() for owed in place}
            self.missing += [o for _, marks in versions for place in marks.values() for o in place if o not in found]
            self.names.update(name for top, _ in versions for record in records_at(top) for name in record.node.names)
        for line in _lines(later):
            for place, owed in _reaching(own, [read_version(v, options) for v in reversed(line)], guess=True).items():
                sure = {o: o for o in owed.values() if not o.guessed}
                _collect(self.followed if sure else self.demanded, {place: sure or owed})


def _lines(versions: Sequence[SchemaVersion]) -> Iterator[list[SchemaVersion]]:
    """Part versions by subject, each in order."""
    subjects: dict[str, list[SchemaVersion]] = {}
    for version in versions:
        subjects.setdefault(version.subject, []).append(version)
    yield from subjects.values()


def _reaching(own: Shape, versions: Sequence[Version], *, guess: bool = False, around: Marks | None = None) -> Marks:
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
    stack = list(pairs_of(records_at(top), records_at(own)))
    while stack:
        there, here = stack.pop()
        if (id(there), id(here)) in seen:
            continue
        seen.add((id(there), id(here)))
        for item, inside in fields_of(there):
            for target, below in counterparts(item, here):
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
                stack += pairs_of(inner, records)
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
        replace(owed, guessed=True): kinds_at(inside)
        for place, inside in places_in(top)
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
        for item, inside in fields_of(record):
            if item.name in met.get(id(record), ()):
                stack += records_at(inside)
            elif item.attributes.get("encrypted") is not False:
                owed = {o: o for o, kinds in new.items() if kinds & kinds_at(inside)}
                _collect(guesses, {joined(record.path, item.name): owed} if owed else {})
    return guesses


def _within(records: Sequence[Shape], marks: Marks) -> dict[Owed, Owed]:
    """Return all that is owed within records."""
    found: dict[Owed, Owed] = {}
    for record in records:
        for place, _ in places_in(record):
            found.update(marks.get(place, {}))
    return found
