"""Within which bounds keys and requests may be shared: for whom, why, and under which lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from worker.errors import ConfigError
from worker.model import Audit, ContextElement, IdentityClaim, PolicyCondition
from worker.model.keys import Purpose

_MAX_REASON = 512
NAME = "sdk"


@dataclass(frozen=True, slots=True)
class Scope:
    """
    What two calls have in common that may share a request or a key; the key's own spec comes on top.

    Args:
        purpose: `encrypt` or `decrypt`.
        reason: what the authority's audit is told.
        lock: the lock context, beside the siblings of the value.
        subject: whom the service token is of; empty as long as there is none.
        is_kept: whether keys may be kept beyond the call.
    """

    purpose: Purpose
    reason: str | None = None
    lock: tuple[ContextElement, ...] = ()
    subject: str = ""
    is_kept: bool = True

    @property
    def audit(self) -> Audit:
        """What the authority is told."""
        return Audit(NAME, purpose=self.purpose, reason=self.reason)

    def of(self, subject: str) -> Scope:
        """Return the same scope for a subject."""
        return self if subject == self.subject else replace(self, subject=subject)


class Identity(Protocol):
    """Whom the key service takes us for."""

    @property
    def subject(self) -> str:
        """The subject of the service token in use; empty where none has been exchanged yet."""
        ...

    @property
    def needs_reason(self) -> bool:
        """Whether the authority gives this client no key without a reason, as far as it has said so."""
        ...


@dataclass(frozen=True, slots=True)
class Anonymous:
    """The identity of a key service that does not tell."""

    subject: str = ""
    needs_reason: bool = False


def identity_of(service: object) -> Callable[[], Identity]:
    """Return what tells whom a key service takes us for."""
    nobody = Anonymous()
    # Asked for each time: after a fork the service has others.
    return lambda: getattr(service, "tokens", nobody)


def checked_reason(reason: object) -> str | None:
    """Return a reason as it may be sent; raises `ConfigError` for what says nothing or too much."""
    if reason is None:
        return None
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigError('a reason is words for the audit, as reason="ticket 4711"')
    if len(reason) > _MAX_REASON or not reason.isprintable():
        raise ConfigError(f"a reason is one line of at most {_MAX_REASON} characters")
    return reason


def may_keep(context: Sequence[ContextElement], policy: Sequence[PolicyCondition]) -> bool:
    """Whether a key is the same for every token of its subject: one that a claim's value decides on is not."""
    return not policy and not any(isinstance(element, IdentityClaim) for element in context)
