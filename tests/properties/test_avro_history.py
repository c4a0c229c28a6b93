"""Random histories of a subject: what one version encrypted leaves the other encrypted, or the version is refused."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from worker.avro import DeclarationOptions, SchemaVersion, compile_schema, encode_value
from worker.errors import DeclarationError

OPTIONS = DeclarationOptions()


@dataclass
class Leaf:
    """One value of a record, whatever its field is called and wherever it stands; its text is its own alone."""

    number: int
    wraps: list[str] = field(default_factory=list)

    @property
    def secret(self) -> str:
        return f"value-{self.number:04d}!"


@dataclass
class Group:
    """A nested record."""

    name: str
    fields: list[Item]
    wraps: list[str] = field(default_factory=list)
    namespace: str = ""
    aliases: list[str] = field(default_factory=list)


@dataclass
class Item:
    """A field: name and aliases, whether it is declared, and what it holds."""

    name: str
    holds: Leaf | Group
    declared: bool = False
    aliases: list[str] = field(default_factory=list)


class History:
    """Makes a first version, and from it a second one by moves whose every new name is new."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = (f"n{i}" for i in range(10_000))
        self.numbers = iter(range(10_000))
        self.root = self.group(depth=2)
        self.done: list[str] = []

    def group(self, depth: int) -> Group:
        items = [self.item(depth) for _ in range(self.random.randint(1, 3))]
        return Group(f"R{next(self.names)}", items)

    def item(self, depth: int) -> Item:
        nested = depth > 0 and self.random.random() < 0.4
        holds: Leaf | Group = self.group(depth - 1) if nested else Leaf(next(self.numbers))
        if self.random.random() < 0.3:
            holds.wraps.append(self.random.choice(["array", "map", "null", "union"]))
        return Item(next(self.names), holds, declared=self.random.random() < (0.15 if nested else 0.5))

    def places(self) -> list[tuple[Group, Item]]:
        found: list[tuple[Group, Item]] = []
        stack = [self.root]
        while stack:
            group = stack.pop()
            for item in group.fields:
                found.append((group, item))
                if isinstance(item.holds, Group):
                    stack.append(item.holds)
        return found

    def evolve(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            move = self.random.choice(MOVES)
            self.done.append(move.__name__)
            move(self)


def rename_record(history: History) -> None:
    groups = [history.root, *(i.holds for _, i in history.places() if isinstance(i.holds, Group))]
    group = history.random.choice(groups)
    if history.random.random() < 0.3:
        group.aliases.append(f"{group.namespace}.{group.name}" if group.namespace else group.name)
    group.name = f"R{next(history.names)}"


def move_namespace(history: History) -> None:
    history.root.namespace = f"s{next(history.names)}"


def rename_field(history: History) -> None:
    _, item = history.random.choice(history.places())
    if history.random.random() < 0.5:
        item.aliases.append(item.name)
    item.name = next(history.names)


def wrap(history: History) -> None:
    _, item = history.random.choice(history.places())
    item.holds.wraps = [history.random.choice(["array", "map", "null", "union"])]


def unwrap(history: History) -> None:
    _, item = history.random.choice(history.places())
    item.holds.wraps = []


def move_down(history: History) -> None:
    group, item = history.random.choice(history.places())
    inner = Group(f"R{next(history.names)}", [item])
    group.fields[group.fields.index(item)] = Item(next(history.names), inner)


def move_up(history: History) -> None:
    inner = [(g, i) for g, i in history.places() if isinstance(i.holds, Group) and len(i.holds.fields) > 1]
    if inner:
        group, outer = history.random.choice(inner)
        assert isinstance(outer.holds, Group)
        item = history.random.choice(outer.holds.fields)
        outer.holds.fields.remove(item)
        if not outer.declared:
            group.fields.append(item)


def forget(history: History) -> None:
    _, item = history.random.choice(history.places())
    item.declared = False


def declare(history: History) -> None:
    _, item = history.random.choice(history.places())
    item.declared = True


def drop(history: History) -> None:
    group, item = history.random.choice(history.places())
    if len(group.fields) > 1:
        group.fields.remove(item)


def add(history: History) -> None:
    group, _ = history.random.choice(history.places())
    group.fields.append(history.item(1))


def shuffle(history: History) -> None:
    group, _ = history.random.choice(history.places())
    history.random.shuffle(group.fields)


def envelope(history: History) -> None:
    history.root = Group(f"R{next(history.names)}", [Item(next(history.names), history.root)])


MOVES: list[Callable[[History], None]] = [
    rename_record, move_namespace, rename_field, wrap, unwrap, move_down, move_up, forget, declare, drop, add, shuffle,
    envelope,
]  # fmt: skip
SHAPES: dict[str, Callable[[Any], Any]] = {
    "array": lambda kind: {"type": "array", "items": kind},
    "map": lambda kind: {"type": "map", "values": kind},
    "null": lambda kind: ["null", kind],
    "union": lambda kind: ["null", "int", kind],
}
VALUES: dict[str, Callable[[Any], Any]] = {"array": lambda v: [v], "map": lambda v: {"k": v}}


def kind_of(holds: Leaf | Group, *, declares: bool) -> Any:
    kind: Any = "string"
    if isinstance(holds, Group):
        fields = [
            {
                "name": item.name,
                "type": kind_of(item.holds, declares=declares),
                **({"aliases": item.aliases} if item.aliases else {}),
                **({"encrypted": True} if item.declared and declares else {}),
            }
            for item in holds.fields
        ]
        named = {"namespace": holds.namespace} if holds.namespace else {}
        aliases = {"aliases": holds.aliases} if holds.aliases else {}
        kind = {"type": "record", "name": holds.name, **named, **aliases, "fields": fields}
    for shape in holds.wraps:
        kind = SHAPES[shape](kind)
    return kind


def value_of(holds: Leaf | Group) -> Any:
    value: Any = (
        {item.name: value_of(item.holds) for item in holds.fields} if isinstance(holds, Group) else holds.secret
    )
    for shape in holds.wraps:
        value = VALUES.get(shape, lambda v: v)(value)
    return value


def secrets(group: Group, *, covered: bool = False) -> Iterator[bytes]:
    """What a version declares, itself or around it."""
    for item in group.fields:
        inside = covered or item.declared
        if isinstance(item.holds, Group):
            yield from secrets(item.holds, covered=inside)
        elif inside:
            yield item.holds.secret.encode()


@dataclass(frozen=True)
class Version:
    schema: str
    datum: bytes
    secrets: frozenset[bytes]


def version(root: Group) -> Version:
    datum = encode_value(json.dumps(kind_of(root, declares=False)), value_of(root))
    return Version(json.dumps(kind_of(root, declares=True)), datum, frozenset(secrets(root)))


def leaked(writer: Version, other: Version, side: str) -> frozenset[bytes] | None:
    """What the other version encrypts and the writer's output shows; None where the writer's schema is refused."""
    try:
        compiled = compile_schema(writer.schema, OPTIONS, **{side: [SchemaVersion(other.schema)]})  # type: ignore[arg-type]
    except DeclarationError:
        return None
    split = compiled.split([writer.datum], [None])
    assert not split.errors
    (output,) = split.join([[b"\x01"] * len(column.values) for column in split.columns])
    assert output is not None
    return frozenset(secret for secret in other.secrets if secret in output)


def run(seeds: range) -> tuple[list[str], Counter[tuple[str, bool]]]:
    """Every leak of the histories, and how often each direction was taken and refused."""
    found: list[str] = []
    verdicts: Counter[tuple[str, bool]] = Counter()
    for seed in seeds:
        history = History(seed)
        first = version(history.root)
        history.evolve()
        second = version(history.root)
        for writer, other, side in ((second, first, "earlier"), (first, second, "later")):
            shown = leaked(writer, other, side)
            verdicts[side, shown is None] += 1
            if shown:
                found.append(f"seed {seed}, {side}, {history.done}: {shown}\n{first.schema}\n{second.schema}")
    return found, verdicts


def test_no_version_shows_what_another_encrypts() -> None:
    """Two hundred random histories, in both directions; enough of them are taken for that to say something."""
    found, verdicts = run(range(200))

    assert found == []
    assert min(verdicts["earlier", False], verdicts["later", False]) > 40


@pytest.mark.heavy
def test_no_version_of_thousands_shows_what_another_encrypts() -> None:
    """The same of five thousand others."""
    found, _ = run(range(1_000, 6_000))

    assert found == []


BUGS: dict[str, tuple[str, Callable[..., Any]]] = {
    "what can't be found is forgotten": ("worker.avro.compiler.Compiler._missing", lambda _self: iter(())),
    "what is found counts as encrypted": ("worker.avro.compiler._is_sealed", lambda _child: True),
    "nothing is guessed": ("worker.avro.lineage._guessed", lambda *_: {}),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_check_finds_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any part of the comparison broken, some history shows what another version encrypts."""
    monkeypatch.setattr(*BUGS[bug])

    assert any(run(range(start, start + 50))[0] for start in range(0, 1_000, 50))
