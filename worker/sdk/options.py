"""What callers may say beside a value: typed for their checkers, and refused by name where it is unknown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Self, TypedDict

from worker.errors import ConfigError
from worker.model import Format, PolicyCondition
from worker.sdk.kept import CacheOptions
from worker.sdk.values import Bind, Context, LockContext
from worker.zerokms.joining import WINDOW_S

MAX_WINDOW_S = 60.0
DEFAULT_CACHE = CacheOptions()
"""What is kept unless told otherwise: 10,000 keys, each for 60 s."""


class ClientOptions(TypedDict, total=False):
    """
    How a client behaves.

    Args:
        reason: what the authority's audit is told of every call that gives none of its own.
        require_reason: refuse, before anything is asked, a call without a reason; nothing is kept then.
        cache: bounds of the keys kept between calls (`CacheOptions`); None keeps none.
        window_s: how long a single call may wait for others to share its request; 0 joins none.
    """

    reason: str | None
    require_reason: bool
    cache: CacheOptions | None
    window_s: float


class AccessOptions(ClientOptions, total=False):
    """
    How the authority is reached, and as whom: exactly one of `access_key`, `oidc_token` and `oidc_token_file`.

    Args:
        access_key: `CSAK...`.
        oidc_token: returns the identity provider's current token, asked for at every exchange.
        oidc_token_file: a file that holds it, read at every exchange.
        cts_host, zerokms_host: other addresses than the region's own; their hosts must be in `allow_hosts`.
        allow_hosts: hosts that may serve this region besides its own.
    """

    access_key: str | None
    oidc_token: Callable[[], str] | None
    oidc_token_file: str | Path | None
    cts_host: str | None
    zerokms_host: str | None
    allow_hosts: Sequence[str]


class EnvironmentOptions(ClientOptions, total=False):
    """
    How `from_env` reads.

    Args:
        environ: the variables; the process's own if not given.
        allow_hosts: hosts that may serve this region besides its own.
    """

    environ: Mapping[str, str] | None
    allow_hosts: Sequence[str]


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
        reason: what the audit is told of this call.
    """

    schema: str | None
    format: Format
    keyset: str | None
    context: Context | None
    bind: Bind | None
    lock_context: LockContext | None
    policy: Sequence[PolicyCondition]
    reason: str | None


class DecryptOptions(TypedDict, total=False):
    """
    What an envelope is opened with.

    Args:
        schema: the field's Avro type; needed where the value is not of a primitive type.
        context: as at encryption; without it the value does not open.
        bind: likewise.
        lock_context: likewise.
        reason: what the audit is told of this call.
    """

    schema: str | None
    context: Context | None
    bind: Bind | None
    lock_context: LockContext | None
    reason: str | None


Errors = Literal["raise", "return"]


class RecordOptions(TypedDict, total=False):
    """
    How whole records are read.

    Args:
        framed: whether each begins with a schema registry's five bytes, which are left out.
        clear: names of records that may have nothing encrypted, as the route's `clear`.
        reason: what the audit is told of this call.
    """

    framed: bool
    clear: Collection[str]
    reason: str | None


class RecordsOptions(RecordOptions, total=False):
    """
    How whole records are read.

    Args:
        keys: the records' keys, needed where a field binds `$key`.
    """

    keys: Sequence[bytes | None] | None


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Raise `TypeError` for the first name that is none, as Python does; says what was meant, and never a value."""
    for name in given:
        if name not in known:
            meant = get_close_matches(name, known, 1)
            hint = f"do you mean {meant[0]!r}?" if meant else f"there are {', '.join(sorted(known))}"
            raise TypeError(f"unexpected keyword argument {name!r}; {hint}")


class _Named:
    """Options, each given by its name."""

    __slots__ = ()

    def __new__(cls, **given: object) -> Self:
        refuse_unknown(given, cls.__dataclass_fields__)  # type: ignore[attr-defined]
        return super().__new__(cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour(_Named):
    """`ClientOptions`, the defaults filled in."""

    reason: str | None = None
    require_reason: bool = False
    cache: CacheOptions | None = DEFAULT_CACHE
    window_s: float = WINDOW_S

    def __post_init__(self) -> None:
        if self.cache is not None and not isinstance(self.cache, CacheOptions):
            raise ConfigError(f"cache is CacheOptions(...), or None to keep none, not a {type(self.cache).__name__}")
        if not 0 <= self.window_s <= MAX_WINDOW_S:
            raise ConfigError(f"window_s is 0 to {MAX_WINDOW_S} seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access(Behaviour):
    """`AccessOptions`, the defaults filled in."""

    access_key: str | None = None
    oidc_token: Callable[[], str] | None = None
    oidc_token_file: str | Path | None = None
    cts_host: str | None = None
    zerokms_host: str | None = None
    allow_hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing(_Named):
    """`EncryptOptions`, the defaults filled in."""

    schema: str | None = None
    format: Format = "record"
    keyset: str | None = None
    context: Context | None = None
    bind: Bind | None = None
    lock_context: LockContext | None = None
    policy: Sequence[PolicyCondition] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening(_Named):
    """`DecryptOptions`, the defaults filled in."""

    schema: str | None = None
    context: Context | None = None
    bind: Bind | None = None
    lock_context: LockContext | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(_Named):
    """`RecordsOptions`, the defaults filled in."""

    keys: Sequence[bytes | None] | None = None
    framed: bool = False
    clear: Collection[str] = ()
    reason: str | None = None
