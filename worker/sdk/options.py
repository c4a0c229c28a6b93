"""What callers may say beside a value: typed for their checkers, and refused by name where it is unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from worker.model import Format, PolicyCondition
from worker.sdk.values import Bind, Context, LockContext


class AccessOptions(TypedDict, total=False):
    """
    How the authority is reached, and as whom: exactly one of `access_key` and `oidc_token`.

    Args:
        access_key: `CSAK...`.
        oidc_token: returns the identity provider's current token, asked for at every exchange.
        cts_host, zerokms_host: other addresses than the region's own; their hosts must be in `allow_hosts`.
        allow_hosts: hosts that may serve this region besides its own.
    """

    access_key: str | None
    oidc_token: Callable[[], str] | None
    cts_host: str | None
    zerokms_host: str | None
    allow_hosts: Sequence[str]


class EnvironmentOptions(TypedDict, total=False):
    """
    How `from_env` reads.

    Args:
        environ: the variables; the process's own if not given.
        allow_hosts: hosts that may serve this region besides its own.
        reason: what the authority's audit is told, in the caller's words.
    """

    environ: Mapping[str, str] | None
    allow_hosts: Sequence[str]
    reason: str | None


class EncryptOptions(TypedDict, total=False):
    """
    How values are encrypted.

    Args:
        schema: the field's Avro type as JSON; else bool, int, float, str and, in `record`, date, datetime, JSON.
        format: `record`, a key for each value (the default); or `leased`, one key for all of this call.
        keyset: name or uuid; None is the client's default.
        context: sibling values bound into the key, in order.
        bind: names and bytes bound to the values; `leased` only.
        lock_context: who may decrypt.
        policy: conditions of which one must hold at decryption; `record` only, without any context.
    """

    schema: str | None
    format: Format
    keyset: str | None
    context: Context | None
    bind: Bind | None
    lock_context: LockContext | None
    policy: Sequence[PolicyCondition]


class DecryptOptions(TypedDict, total=False):
    """
    What an envelope is opened with.

    Args:
        schema: the field's Avro type; needed where the value is not of a primitive type.
        context: as at encryption; without it the value does not open.
        bind: likewise.
        lock_context: likewise.
    """

    schema: str | None
    context: Context | None
    bind: Bind | None
    lock_context: LockContext | None


class DecryptManyOptions(DecryptOptions, total=False):
    """
    What envelopes are opened with.

    Args:
        on_error: `raise` (the default), or `return` to put the `DecryptionError` in the value's place.
    """

    on_error: Literal["raise", "return"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """`AccessOptions`, the defaults filled in."""

    access_key: str | None = None
    oidc_token: Callable[[], str] | None = None
    cts_host: str | None = None
    zerokms_host: str | None = None
    allow_hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """`EncryptOptions`, the defaults filled in."""

    schema: str | None = None
    format: Format = "record"
    keyset: str | None = None
    context: Context | None = None
    bind: Bind | None = None
    lock_context: LockContext | None = None
    policy: Sequence[PolicyCondition] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """`DecryptManyOptions`, the defaults filled in."""

    schema: str | None = None
    context: Context | None = None
    bind: Bind | None = None
    lock_context: LockContext | None = None
    on_error: Literal["raise", "return"] = "raise"
