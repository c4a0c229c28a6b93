"""Why a client reads and writes: what the authority's audit is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from worker.errors import ConfigError
from worker.sdk.scope import Identity, checked_reason

# One variable for all clients, since a context keeps every variable that it ever had.
_said: ContextVar[tuple[tuple[object, str], ...]] = ContextVar("reasons", default=())


class Reasons:
    """
    Chooses the reason of each call: its own, else that of `because`, else the client's.

    Args:
        default: the client's own.
        is_required: refuse a call without one.
    """

    def __init__(self, default: str | None = None, *, is_required: bool = False) -> None:
        self._default, self._is_required = checked_reason(default), is_required

    @contextmanager
    def because(self, reason: str) -> Iterator[None]:
        """Give a reason to every call of this thread, or task, within the block."""
        checked = checked_reason(reason)
        if checked is None:
            raise ConfigError("because() takes the reason")
        token = _said.set((*_said.get(), (self, checked)))
        try:
            yield
        finally:
            _said.reset(token)

    def choose(self, own: str | None, identity: Identity) -> tuple[str | None, bool]:
        """
        Return a call's reason, and whether there has to be one.

        Raises:
            ConfigError: a reason is required, by the client's option or by the authority, and there is none.
        """
        is_required = self._is_required or identity.needs_reason
        chosen = checked_reason(own) or self._within() or self._default
        if chosen is None and is_required:
            who = "this client's require_reason" if self._is_required else "the authority"
            raise ConfigError(f'{who} asks for a reason: pass reason="ticket 4711", or call within because("...")')
        return chosen, is_required

    def _within(self) -> str | None:
        return next((reason for whose, reason in reversed(_said.get()) if whose is self), None)
