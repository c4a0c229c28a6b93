"""The schemas of one route's records: each compiled once, with the id of its output."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from worker.avro import (
    CompiledSchema,
    DeclarationOptions,
    RegisteredSchema,
    SchemaRef,
    SchemaSource,
    SchemaVersion,
    compile_once,
    frame,
)
from worker.avro.history import root_names
from worker.encryption import BatchDecryptor
from worker.errors import ConfigError, DeclarationError, RecordError
from worker.pipeline.keys import RecordKeys
from worker.pipeline.passed import PassedEnvelopes, passed_envelopes

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SchemaRules:
    """
    How a route reads its schemas.

    Args:
        declaration: defaults and policies.
        subject: full name of a record -> subject under which its output schema is registered.
        accepted: keysets whose envelopes may pass as they are, where the declaration says `pass`.
        opener: opens what passes; None lets it pass unopened, and then it is not counted as encrypted.
        topics: where the records come from; what the versions of these topics' subjects declare counts for a schema of
            any other subject whose record has the same name.
    """

    declaration: DeclarationOptions
    subject: Callable[[str], str]
    accepted: Callable[[], frozenset[UUID]] = frozenset
    opener: BatchDecryptor | None = None
    topics: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class InputSchema:
    """One compiled input schema and what its output is framed with."""

    registered: RegisteredSchema
    compiled: CompiledSchema
    output_id: int
    prefix: bytes
    passed: PassedEnvelopes | None


class InputSchemas:
    """
    Compiles each schema once, and anew when its registration has changed.

    Args:
        source: input schemas by reference, and output ids.
        rules: how they are read.
        keys: what becomes of record keys; None: they pass as they are.
        extract: root fields whose values are wanted as text.
    """

    def __init__(
        self, source: SchemaSource, rules: SchemaRules, *, keys: RecordKeys | None, extract: Sequence[str]
    ) -> None:
        self._source, self._rules, self._keys, self._extract = source, rules, keys, extract
        self._passes = rules.declaration.already_encrypted == "pass"
        self._compiled: dict[str, InputSchema] = {}

    def meet(self, refs: Iterable[SchemaRef]) -> None:
        """Learn of every schema before the first record goes out: a newer version may say what an older one leaves."""
        for ref in refs:
            if str(ref) not in self._compiled:
                with contextlib.suppress(RecordError):
                    self._source.get(ref)

    def get(self, ref: SchemaRef) -> InputSchema:
        """
        Return a schema, compiled.

        Raises:
            RecordError: no such schema.
            DeclarationError: what it declares can't be kept to.
            TransientError: the registry is away.
        """
        known = self._compiled.get(str(ref))
        registered = self._source.get(ref)
        if known is not None and known.registered is registered:
            return known
        rules = self._rules
        compiled = compile_once(
            registered.version,
            rules.declaration,
            extract=self._extract,
            earlier=registered.earlier,
            later=(*registered.later, *self._of_topics(registered)),
        )
        plan = compiled.plan
        if known is None:
            for warning in compiled.warnings:
                _log.warning("schema_warning", schema=str(ref), warning=warning)
        if self._keys is not None:
            self._keys.check_values(plan.fields)
        if known is not None and known.compiled.plan == plan:
            return self._keep(ref, replace(known, registered=registered))
        output_id = self._source.output_id(ref, rules.subject(plan.name), plan.output_schema)
        passed = passed_envelopes(plan.input_schema, rules.accepted(), rules.opener) if self._passes else None
        if passed is not None and passed.bind_keys and self._keys is not None and self._keys.replaces:
            raise DeclarationError("an envelope that is bound to its record's key can't pass while the key is replaced")
        return self._keep(ref, InputSchema(registered, compiled, output_id, frame(output_id), passed))

    def _of_topics(self, registered: RegisteredSchema) -> Iterator[SchemaVersion]:
        """Yield what the topics' own subjects say of a schema that is none of their versions."""
        said, names = _said(registered.version.schema), root_names(registered.version.schema)
        for topic in self._rules.topics:
            history = self._source.history(topic)
            if all(_said(version.schema) != said for version in history):
                yield from (version for version in history if not names.isdisjoint(root_names(version.schema)))

    def _keep(self, ref: SchemaRef, schema: InputSchema) -> InputSchema:
        self._compiled[str(ref)] = schema
        return schema


def _said(schema: str) -> object:
    """Return what a schema says, however it is laid out; the text itself where tools have put comments before it."""
    try:
        return json.loads(schema)
    except ValueError:
        return schema


def subject_of(strategy: str, topic: str) -> Callable[[str], str]:
    """
    Return the function from a record's full name to its subject.

    Args:
        strategy: `topic`, `record` or `topic-record`.
        topic: the sink's topic or table.
    """
    strategies: dict[str, Callable[[str], str]] = {
        "topic": lambda _name: f"{topic}-value",
        "record": lambda name: name,
        "topic-record": lambda name: f"{topic}-{name}",
    }
    if strategy not in strategies:
        raise ConfigError(f"subject_strategy {strategy!r} is none of {', '.join(strategies)}")
    return strategies[strategy]
