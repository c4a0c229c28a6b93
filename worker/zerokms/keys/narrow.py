"""One refused context among many: found, so that the others get their keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from worker.errors import ConfigError, ContextDenied, KeyAccessDenied, SubjectErased, WorkerError
from worker.model import DataKey, KeySpec, Value

Generate = Callable[[Sequence[KeySpec]], Sequence[DataKey]]
Answer = DataKey | WorkerError
_Refusals = (KeyAccessDenied, ConfigError)


def generate_each(generate: Generate, specs: Sequence[KeySpec]) -> Sequence[Answer]:
    """
    Return a key for each spec, or why that one is refused.

    A service refuses a request whole. Where it names values that were erased, the rest is asked for again without
    them. Else one key without any context tells whether the identity is refused or a context; a context is found by
    halves.

    Args:
        generate: asks the key service.
        specs: of one keyset.

    Raises:
        KeyServiceUnavailable: no answer to one of the requests; keys that had come are wiped.
        WorkerError: the identity, the keyset or the descriptor is refused, or the answer is hostile.
    """
    try:
        return generate(specs)
    except _Refusals as exc:
        erased = [isinstance(exc, SubjectErased) and names(spec, exc) for spec in specs]
        if isinstance(exc, SubjectErased) and any(erased):
            return _without(generate, specs, erased, exc)
        runs = [list(same) for _, same in groupby(specs)]
        if not any(_has_context(spec) for spec in specs):
            if len(runs) == 1:
                raise
        else:
            [key] = generate([KeySpec(specs[0].keyset, specs[0].descriptor)])
            key.wipe()
        if len(runs) == 1:
            return _refused(specs, exc)
    found: list[Answer] = []
    try:
        _halve(generate, runs, found)
    except BaseException:
        for answer in found:
            if isinstance(answer, DataKey):
                answer.wipe()
        raise
    return found


def _without(
    generate: Generate, specs: Sequence[KeySpec], erased: Sequence[bool], exc: SubjectErased
) -> Sequence[Answer]:
    """Ask again for those that were not erased."""
    left = [spec for spec, is_erased in zip(specs, erased, strict=True) if not is_erased]
    others = iter(generate_each(generate, left) if left else ())
    return [
        SubjectErased(f"{spec.descriptor}: {exc}", values=tuple(exc.values)) if is_erased else next(others)
        for spec, is_erased in zip(specs, erased, strict=True)
    ]


def names(spec: KeySpec, exc: SubjectErased) -> bool:
    """Whether a refusal of erased values names one of a key's."""
    return any(isinstance(e, Value) and (e.name, e.value) in exc.values for e in spec.context)


def _halve(generate: Generate, runs: Sequence[Sequence[KeySpec]], found: list[Answer]) -> None:
    """Ask for the halves of what was refused as a whole."""
    middle = len(runs) // 2
    for half in (runs[:middle], runs[middle:]):
        specs = [spec for run in half for spec in run]
        try:
            found += generate(specs)
        except _Refusals as exc:
            if len(half) == 1:
                found += _refused(specs, exc)
            else:
                _halve(generate, half, found)


def _refused(specs: Sequence[KeySpec], exc: WorkerError) -> list[Answer]:
    if not _has_context(specs[0]):
        return [exc] * len(specs)
    if isinstance(exc, SubjectErased):
        return [exc] * len(specs)
    denied = ContextDenied(f"{specs[0].descriptor}: the key service refuses this value's context or policy: {exc}")
    return [denied] * len(specs)


def _has_context(spec: KeySpec) -> bool:
    return bool(spec.context or spec.policy)
