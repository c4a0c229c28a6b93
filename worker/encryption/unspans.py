"""Opens a batch in native memory; records that the extension does not take, the twin opens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from worker.encryption.handles import batch_of, lease_of
from worker.encryption.leased import does_not_open
from worker.encryption.record import record_does_not_open
from worker.encryption.refusal import key_denied, unexpected_plaintext
from worker.errors import DecryptionError, KeyAccessDenied, KeyServiceUnavailable, RecordError, SubjectErased
from worker.model import ContextElement, DataKey, DecryptionKeys, FieldPlan, Format, KeyRefused, Split, Value
from worker.native.requests import NativeAnswers, NativeRequests, Sources
from worker.native.split import SpanSplit

Answers = Sequence[DataKey | KeyRefused]
_DROPPED = "a data key was dropped while it was in use; ask again"


@dataclass(slots=True)
class Opened:
    """
    A batch's records put together again, None for one that did not open.

    `errors` say why, by its place; `denied` are those of them that are the key service's refusal.
    """

    data: Sequence[bytes | None] = field(repr=False)
    errors: dict[int, RecordError]
    denied: dict[int, KeyAccessDenied] = field(default_factory=dict)


def open_spans(split: SpanSplit, keys: DecryptionKeys, prefix: bytes, twin: Callable[[Split], Opened]) -> Opened:
    """
    Open every envelope of a split and put its records together, each behind `prefix`.

    Args:
        split: whose values are envelopes.
        keys: where data keys come from.
        prefix: what stands in front of each record.
        twin: opens what is left to it.
    """
    asked, left = split.spans.requests([plan.descriptor for plan in split.plans])
    requests = NativeRequests(asked, [_contexts(split, slot) for slot in range(len(split.plans))])
    answers = keys.keys(requests) if len(requests) else NativeAnswers(())
    output, faults = split.spans.open(asked, sources_of(requests, answers), prefix)
    opened = Opened(output, {})
    for record, slot, word, number in faults:
        plan = split.plans[slot]
        fault = fault_of(word, plan.format, answers, number)
        if isinstance(fault, KeyAccessDenied):
            opened.denied[record] = type(fault)(f"{plan.identity}: {fault}")
        opened.errors[record] = placed(fault, plan)
    places = sorted({*split.refused, *left})
    if places:
        rest = twin(split.twin(places))
        data = opened.data = list(output)
        for place, datum in zip(places, rest.data, strict=True):
            data[place] = datum
        opened.errors.update({places[i]: error for i, error in rest.errors.items()})
        opened.denied.update({places[i]: error for i, error in rest.denied.items()})
    return opened


def sources_of(requests: NativeRequests, answers: Answers) -> Sources:
    """Return where the keys of requests are; those of a cache are copied to native memory for this batch."""
    if isinstance(answers, NativeAnswers):
        return answers.sources
    sources: Sources = []
    singles: list[DataKey] = []
    for number, answer in enumerate(answers):
        if isinstance(answer, KeyRefused) or requests.fingerprint(number) is not None:
            _copied(singles, sources)
            sources.append((None if isinstance(answer, KeyRefused) else lease_of(answer), 0, 1))
        else:
            singles.append(answer)
    _copied(singles, sources)
    return sources


def _copied(singles: list[DataKey], sources: Sources) -> None:
    if not singles:
        return
    try:
        sources.append((batch_of(singles), 0, len(singles)))
    except RuntimeError:
        raise KeyServiceUnavailable(_DROPPED) from None
    singles.clear()


def fault_of(word: str, kind: Format, answers: Answers, number: int) -> DecryptionError | KeyAccessDenied:
    """Return why a value did not open, in the twin's words."""
    if word == "unexpected":
        return unexpected_plaintext()
    if word == "shut":
        return does_not_open() if kind == "leased" else record_does_not_open()
    answer = answers[number]
    if not isinstance(answer, KeyRefused):
        raise KeyServiceUnavailable(_DROPPED)
    return key_denied(answer)


def placed(exc: DecryptionError | KeyAccessDenied, plan: FieldPlan) -> DecryptionError:
    """Return the error with the field that it is of."""
    code = (
        exc.code if isinstance(exc, DecryptionError) else "subject_erased" if isinstance(exc, SubjectErased) else None
    )
    return DecryptionError(f"{plan.identity}: {exc}", code=code, path=plan.identity)


def _contexts(split: SpanSplit, slot: int) -> list[tuple[ContextElement, ...]]:
    names = split.plans[slot].context
    return [tuple(map(Value, names, texts)) for texts in split.spans.contexts(slot)] if names else []
