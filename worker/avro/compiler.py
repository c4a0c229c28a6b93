"""From a schema and the operator's policies to a plan in which every declared path is covered, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from worker.avro.declaration import (
    DeclarationOptions,
    FieldOptions,
    decide,
    is_reserved,
)
from worker.avro.defaults import fits, holds_declared
from worker.avro.descriptors import default_descriptor
from worker.avro.history import matching, tags_at
from worker.avro.lineage import Lineage
from worker.avro.names import odd_names, refuse_ambiguous
from worker.avro.owed import Owed
from worker.avro.placement import refuse_everywhere
from worker.avro.readers import is_widthless
from worker.avro.schema import Field, Node
from worker.avro.sealed import sealed_type, type_text
from worker.avro.shape import Covered, Shape, Walker, field_fingerprint, joined, kind_of, occurrences
from worker.avro.siblings import text_reader
from worker.errors import DeclarationError
from worker.model import FieldPlan, PlaintextKind


class Compiler:
    """Decides every field of one schema; afterwards `top` is its shape and `covered` its plan."""

    def __init__(
        self,
        root: Node,
        options: DeclarationOptions,
        metadata_tags: Mapping[str, Sequence[str]],
        lineage: Lineage | None = None,
    ) -> None:
        self._options, self._metadata = options, dict(metadata_tags)
        self._lineage = Lineage(root, options) if lineage is None else lineage
        self._matched: set[str] = set()
        self.passed: set[str] = set()
        self.warnings: list[str] = odd_names(root)
        self._kept: set[str] = set()
        self._names = {name for n in (root.inner if root.kind == "union" else [root]) for name in n.names}
        self._all_fields = refuse_everywhere(root, options)
        walker = Walker(self._decide)
        self.top: Shape = walker.root(root)
        self.covered: list[Covered] = walker.covered
        self._check_siblings()
        self._check_policies()
        self._check_descriptors()
        refuse_ambiguous(self.top)

    def refuse_lost(self) -> None:
        """Refuse where what another version declares stands here in the clear, or can't be found any more."""
        for owed, place in self.lost():
            if place is None:
                raise DeclarationError(
                    f"{owed.identity} is encrypted in {owed.label}, and no field here has its name, an alias of it or "
                    "its place; keep an alias, or list it under [encryption] allow_lost",
                    path=owed.identity,
                )
            here = "" if place == owed.identity else f" as {place}"
            if owed.guessed:
                raise DeclarationError(
                    f"{owed.identity} is encrypted in {owed.label}, which has no {place} any more: renamed without an "
                    f"alias, it would be in the clear here; declare {place} (`false` where it is another field)",
                    path=place,
                )
            raise DeclarationError(
                f"{owed.identity} was encrypted in {owed.label} and is in the clear now{here}; declare it, or list it "
                "under [encryption] allow_lost",
                path=place,
            )

    def lost(self) -> Iterator[tuple[Owed, str | None]]:
        """Yield what other versions declare and this one leaves in the clear, and where it stands, if anywhere."""
        allowed = set(self._options.allow_lost)
        below = {
            joined(shape.path, item.name): child
            for shape in occurrences(self.top)
            if shape.node.kind == "record"
            for item, child in zip(shape.node.fields, shape.children, strict=True)
        }
        for place, owing in self._lineage.demanded.items():
            child = below.get(place)
            if place not in allowed and not self._encrypts(place) and not (child is not None and _is_sealed(child)):
                yield from ((owed, place) for owed in owing if owed.identity not in allowed)
        yield from ((owed, None) for owed in self._missing() if owed.identity not in allowed)

    def _missing(self) -> Iterator[Owed]:
        """Yield what has no place of its own here, and stands within nothing that is encrypted."""
        covered = {owed for place, within in self._lineage.around.items() if self._encrypts(place) for owed in within}
        return (owed for owed in self._lineage.missing if owed not in covered)

    def _encrypts(self, identity: str) -> bool:
        return any(self._covers(kept, identity) for kept in self._kept)

    @staticmethod
    def _covers(covered: str, identity: str) -> bool:
        return identity == covered or identity.startswith(tuple(covered + sign for sign in ".[{<"))

    def _decide(self, item: Field, identities: tuple[str, ...], record: Node) -> tuple[FieldPlan, Node, Node] | None:
        where = identities[0]
        if "encryption" in item.attributes:
            self._pass(item, identities, record)
            return None
        tags = self._metadata_tags(f"{record.name}.{item.name}")
        said = decide(item.attributes, identities, tags, self._options)
        if not isinstance(said, FieldOptions) and where in self._lineage.followed and not _is_void(item.node):
            said = next(iter(self._lineage.followed[where].values())).said
        misfit = "default" in item.attributes and not fits(item.attributes["default"], item.node)
        if isinstance(said, FieldOptions):
            if misfit:
                raise DeclarationError(f"{where}: the default is no value of the field's type", path=where)
            self._kept.update(identities)
            plan = self._plan(item, where, said)
            return plan, item.node, sealed_type(item, plan)
        if misfit:
            self.warnings.append(f"{where}: the default is no value of the field's type, and counts as none")
        if self._options.strict and said is None and item.node.kind != "record" and not _holds_record(item.node):
            raise DeclarationError(f"{where} is declared neither encrypted nor clear (strict)", path=where)
        return None

    def _pass(self, item: Field, identities: tuple[str, ...], record: Node) -> None:
        """A field that arrives encrypted meets every policy by that, and stays as it is."""
        where = identities[0]
        if self._options.already_encrypted != "pass":
            raise DeclarationError(
                f'{where} is encrypted already; read its source instead, or say already_encrypted = "pass"', path=where
            )
        if "encrypted" in item.attributes:
            raise DeclarationError(f"{where} has both `encrypted` and `encryption`", path=where)
        self._metadata_tags(f"{record.name}.{item.name}")
        self.passed.update(identities)
        self._kept.update(identities)

    def _metadata_tags(self, full_name: str) -> list[str]:
        self._matched.update(matching(self._metadata, full_name))
        return tags_at(self._metadata, full_name)

    def _plan(self, item: Field, identity: str, said: FieldOptions) -> FieldPlan:
        options, node = self._options, item.node
        if _is_void(node):
            raise DeclarationError(
                f"{identity}: a value of this type takes no bytes; it has nothing to encrypt", path=identity
            )
        chosen = said.format or options.format
        if said.bind and chosen == "record":
            raise DeclarationError(f"{identity}: `bind` needs the format `leased`", path=identity)
        if said.index and chosen == "leased":
            raise DeclarationError(f"{identity}: `index` needs the format `record`", path=identity)
        allowed = {*options.keysets, options.keyset}
        if options.keysets and said.keyset is not None and said.keyset not in allowed:
            raise DeclarationError(f"{identity}: the config lists no keyset {said.keyset!r}", path=identity)
        descriptor = default_descriptor(identity) if said.descriptor is None else said.descriptor
        if not 1 <= len(descriptor.encode()) <= 255:
            raise DeclarationError(f"{identity}: a descriptor has 1 to 255 bytes; name a shorter one", path=identity)
        if is_reserved(descriptor):
            raise DeclarationError(
                f"{identity}: the descriptor {descriptor!r} is the worker's own (zk-canary, dead/, key/); name another",
                path=identity,
            )
        kind, null, symbols = kind_of(node, said.null == "encrypt")
        if said.index and kind is PlaintextKind.AVRO:
            raise DeclarationError(f"{identity}: a value of this type can't be indexed", path=identity)
        if "match" in said.index and kind not in (PlaintextKind.STRING, PlaintextKind.ENUM):
            raise DeclarationError(
                f"{identity}: the index `match` finds parts of a text, and this is none; declare `unique` alone",
                path=identity,
            )
        return FieldPlan(
            identity, descriptor, said.descriptor is not None, said.keyset or options.keyset, chosen, said.context,
            said.bind, said.null, said.index, kind, null, symbols, field_fingerprint(node), type_text(node),
        )  # fmt: skip

    def _check_siblings(self) -> None:
        for shape in occurrences(self.top):
            beside = dict(zip((f.name for f in shape.node.fields), shape.children, strict=False))
            for covered in (c for c in shape.children if isinstance(c, Covered)):
                where = covered.plan.identity
                for name in (n for n in (*covered.plan.context, *covered.plan.bind) if n != "$key"):
                    sibling = beside.get(name)
                    if not isinstance(sibling, Shape) or sibling.declares or sibling.path in self.passed:
                        raise DeclarationError(f"{where}: {name!r} is no clear sibling of the field", path=where)
                    if name in covered.plan.context and text_reader(sibling.node) is None:
                        raise DeclarationError(f"{where}: {name!r} has no text for a context", path=where)
                if "$key" in covered.plan.context:
                    raise DeclarationError(f"{where}: `$key` can be bound, not be a context", path=where)
            for item, child in zip(shape.node.fields, shape.children, strict=False):
                if (
                    isinstance(child, Shape)
                    and child.declares
                    and holds_declared(item.attributes.get("default"), child)
                ):
                    raise DeclarationError(
                        f"{child.path}: its default holds the value of a declared field; give it to that field",
                        path=child.path,
                    )

    def _check_policies(self) -> None:
        for identity in (*self._options.required, *self._options.paths):
            record, _, path = identity.partition("/")
            if record in self._names and not self._encrypts(identity):
                what = f"{identity} must be encrypted, and this schema does not declare it"
                remedy = "declare it, or take it out of [schemas] required"
                raise DeclarationError(f"{what}; {remedy}", path=identity)
            if record in self._lineage.names - self._names and identity in self._options.required:
                self._refuse_moved(identity, path)
        for name in self._all_fields:
            self._metadata_tags(name)
        for pattern in set(self._metadata) - self._matched:
            if any(tag in self._options.tags for tag in self._metadata[pattern]):
                raise DeclarationError(
                    f"the registry tags {pattern!r}, and no field outside a covered one has that path"
                )

    def _refuse_moved(self, identity: str, path: str) -> None:
        """Refuse where a record was given another name and a required path of it is not encrypted under that."""
        if identity not in self._options.allow_lost and not any(self._encrypts(f"{n}/{path}") for n in self._names):
            raise DeclarationError(
                f"{identity} must be encrypted; its record has the name {min(self._names)} now, and this schema does "
                "not, under any name of it",
                path=identity,
            )

    def _check_descriptors(self) -> None:
        owners: dict[str, Covered] = {}
        for one in self.covered:
            first = owners.setdefault(one.plan.descriptor, one)
            # One field of a type that is used twice: its uses are told apart (`worker.avro.descriptors`).
            if first.plan.identity != one.plan.identity and first.item is not one.item:
                raise DeclarationError(
                    f"{first.plan.identity} and {one.plan.identity} have one descriptor; give each its own",
                    path=one.plan.identity,
                )


def _is_void(node: Node) -> bool:
    """Whether a value of the type takes no bytes."""
    return is_widthless(node) or (node.kind == "union" and all(branch.kind == "null" for branch in node.inner))


def _is_sealed(child: Shape | Covered) -> bool:
    """Whether nothing of a place stays readable though it is not encrypted as a whole; the keys of a map would."""
    seen: set[int] = set()
    stack = [child]
    while stack:
        found = stack.pop()
        if isinstance(found, Covered) or id(found) in seen or found.node.kind == "null":
            continue
        seen.add(id(found))
        if found.node.kind not in ("record", "union", "array"):
            return False
        stack += found.children
    return True


def _holds_record(node: Node) -> bool:
    return node.kind == "record" or any(_holds_record(inner) for inner in node.inner)
