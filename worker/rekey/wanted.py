"""What new envelopes are to be like: from an output schema to the declaration that makes it anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.avro import CompiledSchema, DeclarationOptions, compile_schema, open_schema, schema_fingerprint
from worker.avro.declaration import FieldOptions
from worker.errors import ConfigError
from worker.model import FieldPlan, Format

_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    How values are to be encrypted that are encrypted already; what is not said stays as it is.

    Args:
        keyset: name or uuid, of every field.
        format: `record` or `leased`, likewise.
        descriptors: by field identity.
        schema: the declared input schema, or the output schema, that says all of it instead.
    """

    keyset: str | None = None
    format: Format | None = None
    descriptors: Mapping[str, str] = field(default_factory=dict)
    schema: str | None = None

    def __post_init__(self) -> None:
        if self.keyset is None and self.format is None and not self.descriptors and self.schema is None:
            raise ConfigError(
                "say what the new envelopes are to be: --to-keyset, --to-format, --to-descriptor or --to-schema"
            )

    def compiled(self, stored: str) -> CompiledSchema:
        """
        Return the schema that seals anew what an output schema's records hold.

        Raises:
            ConfigError: the stored schema encrypts nothing, or the new one is of other records.
            DeclarationError: what is asked for can't be declared, as `index` in the format `leased`.
        """
        old = open_schema(stored)
        old.refuse_clear()
        if self.schema is None:
            unknown = set(self.descriptors) - {plan.identity for plan in old.fields}
            if unknown:
                known = ", ".join(plan.identity for plan in old.fields)
                raise ConfigError(
                    f"--to-descriptor: no encrypted field is {', '.join(sorted(unknown))}; there are {known}"
                )
            return _declared(old.writer_schema, {plan.identity: self._said(plan) for plan in old.fields})
        made = self._of_schema(self.schema)
        if schema_fingerprint(made.plan.input_schema) != schema_fingerprint(old.writer_schema):
            raise ConfigError(
                f"--to-schema is not of the same records as {', '.join(old.names)}: a rekey changes how values are "
                "encrypted, not the record"
            )
        return made

    def _said(self, plan: FieldPlan) -> FieldOptions:
        own = self.descriptors.get(plan.identity, _written(plan))
        said = {"keyset": self.keyset or plan.keyset, "format": self.format or plan.format, "descriptor": own}
        return _options(plan).model_copy(update=said)

    def _of_schema(self, text: str) -> CompiledSchema:
        opened = open_schema(text) if '"encryption"' in text else None
        if opened is not None and opened.fields:
            return _declared(opened.writer_schema, {plan.identity: self._said(plan) for plan in opened.fields})
        made = compile_schema(text, DeclarationOptions(keyset=self.keyset, format=self.format or "record"))
        if made.plan.is_clear:
            raise ConfigError("--to-schema declares nothing encrypted: a rekey leaves nothing in the clear")
        return made


def narrowed(whole: CompiledSchema, stored: str) -> CompiledSchema:
    """Return the part of a way to encrypt that concerns some fields of its records, as their own output schema."""
    known = {plan.identity: plan for plan in whole.plan.fields}
    old = open_schema(stored)
    return _declared(old.writer_schema, {plan.identity: _options(known[plan.identity]) for plan in old.fields})


def _declared(schema: str, paths: Mapping[str, FieldOptions]) -> CompiledSchema:
    return compile_schema(schema, DeclarationOptions(paths=dict(paths)))


def _options(plan: FieldPlan) -> FieldOptions:
    return FieldOptions(
        keyset=plan.keyset,
        format=plan.format,
        descriptor=_written(plan),
        context=plan.context,
        bind=plan.bind,
        null=plan.null,
        index=plan.index,
    )


def _written(plan: FieldPlan) -> str | None:
    """Return a descriptor as it was declared, without what a further use of its type adds to it."""
    if not plan.descriptor_is_explicit:
        return None
    own = f"#{hashlib.sha256(plan.identity.encode()).hexdigest()[:_DIGITS]}"
    return plan.descriptor.removesuffix(own)


def refuse_alike(old: str, new: CompiledSchema) -> None:
    """
    Refuse a change that no envelope would show: whether a value is new is read from keyset, format and descriptor.

    Raises:
        ConfigError: a field's context, bound values or type change, and nothing else of it.
    """
    before = {plan.identity: plan for plan in open_schema(old).fields}
    for plan in new.plan.fields:
        was = before.get(plan.identity)
        if was is None:
            raise ConfigError(
                f"{plan.identity} is in the clear in what is stored: encrypt it by running its route again"
            )
        # A stored schema need not say under which keyset its settings had it encrypted.
        known = was.keyset in (None, plan.keyset)
        same = known and (was.format, was.descriptor) == (plan.format, plan.descriptor)
        if same and (was.context, was.bind, was.null) != (plan.context, plan.bind, plan.null):
            raise ConfigError(
                f"{plan.identity}: a change of context, bind or null alone can't be told from the envelope; give it "
                "another descriptor as well, or another keyset than the one that the stored schema names"
            )
    gone = sorted(set(before) - {plan.identity for plan in new.plan.fields})
    if gone:
        raise ConfigError(f"{', '.join(gone)} would be left in the clear; `worker export` does that, with a reason")


def named(assignments: list[str]) -> dict[str, str]:
    """Read `identity=descriptor`; raises `ConfigError`."""
    found = {}
    for each in assignments:
        identity, equals, descriptor = each.rpartition("=")
        if not equals or not identity or not descriptor:
            raise ConfigError(f"--to-descriptor {each!r} is not identity=descriptor")
        found[identity] = descriptor
    return found


def said(schema: CompiledSchema) -> str:
    """Return what tells one way to encrypt from another: a hash of the output schema."""
    return hashlib.sha256(json.dumps(schema.plan.output_schema).encode()).hexdigest()
