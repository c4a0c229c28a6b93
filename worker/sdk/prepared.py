"""Calls made ready before any key is asked for: what they need, checked, and how their values are made with it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, TypeGuard

from worker.avro import is_reserved
from worker.avro.descriptors import default_descriptor
from worker.encryption import leased
from worker.encryption.anyform import AnyEnvelope
from worker.errors import ConfigError, KeyAccessDenied, RecordError, WorkerError
from worker.model import ContextElement, DataKey, Format, KeyRefused, KeySpec, RetrieveRequest
from worker.sdk import checked
from worker.sdk import values as forms
from worker.sdk.keyring import KeyCall
from worker.sdk.opening import NativeOpening, native_opening
from worker.sdk.options import Opening, Sealing
from worker.sdk.values import Bind


@dataclass(frozen=True, slots=True)
class Seal:
    """Values on their way to envelopes: the spec of their keys, and what is bound to them."""

    spec: KeySpec
    named: Sequence[tuple[str, str]]
    lock: tuple[ContextElement, ...]
    bind: Bind


@dataclass(frozen=True, slots=True)
class Open:
    """
    Envelopes on their way to values.

    `requests` are those of `native` first, then one for each of `places`, whose items are envelopes taken apart.
    """

    items: list[Any] = field(repr=False)
    places: list[int]
    requests: Sequence[RetrieveRequest]
    native: NativeOpening | None
    named: Sequence[tuple[str, str]]
    lock: tuple[ContextElement, ...]
    given: Opening

    def finished(self, keys: KeyCall) -> list[Any]:
        """Return each value, or what is wrong with it, as the keys of large calls arrive."""
        native = self.native
        if native is None or self.places or not native.held.is_one_each:
            return self.finish(keys.keys(self.requests))
        read = native.in_parts(self.named, self.given.bind or {})
        return [*chain.from_iterable(keys.keys_ahead(native.requests, read))]

    def finish(self, keys: Sequence[DataKey | KeyRefused]) -> list[Any]:
        """Return each value, or what is wrong with it."""
        out, given, bind = list(self.items), self.given, self.given.bind or {}
        if self.native is not None:
            count = len(self.native.requests)
            mine, keys = (keys[:count], keys[count:]) if self.places else (keys, ())
            self.native.finish(mine, self.named, bind, out)
        for i, key in zip(self.places, keys, strict=True):
            out[i] = attempted(out[i], key, given.schema, self.named, bind)
        return out


def attempted(envelope: Any, key: DataKey | KeyRefused, schema: str | None, named: Any, bind: Bind) -> Any:
    """Return an envelope's value, or what is wrong with it."""
    try:
        return forms.open_value(envelope, key, schema, named, bind)
    except (RecordError, KeyAccessDenied) as exc:
        return exc


def sealing(field_: str, given: Sealing) -> Seal:
    """Check what values are to be sealed with; raises `ConfigError`."""
    is_unbound = given.context is None and given.bind is None and given.lock_context is None and given.policy == ()
    plain = (field_, given.format, given.keyset, given.schema)
    if is_unbound and all(each is None or type(each) is str for each in plain):
        return _unbound(*plain)
    return _sealing(field_, given)


@lru_cache(maxsize=256)
def _unbound(field_: str, kind: Format, keyset: str | None, schema: str | None) -> Seal:
    """Single calls of one field come again and again."""
    return _sealing(field_, Sealing(format=kind, keyset=keyset, schema=schema))


def _sealing(field_: str, given: Sealing) -> Seal:
    descriptor = default_descriptor(_text(field_, "field"))
    if not 1 <= len(descriptor.encode()) <= leased.MAX_LABEL_BYTES:
        raise ConfigError("field takes 1-255 bytes of UTF-8")
    if is_reserved(descriptor):
        raise ConfigError(f"the descriptor {descriptor!r} is the worker's own (zk-canary, dead/, key/); name another")
    if given.format not in ("record", "leased"):
        raise ConfigError(f"format is 'record' or 'leased', not {given.format!r}")
    if given.policy and (given.format == "leased" or given.context or given.lock_context is not None):
        raise ConfigError("a policy is for the format `record`, and excludes a context")
    if given.bind and given.format == "record":
        raise ConfigError("bound values need the format `leased`")
    checked.schema(given.schema)
    named = forms.texts(given.context)
    keyset = None if given.keyset is None else checked.text(str(given.keyset), "keyset")
    policy = checked.conditions(given.policy)
    spec = KeySpec(keyset, descriptor, forms.elements(named, given.lock_context), policy)
    return Seal(spec, named, _lock(given), _checked_bind(given.bind))


def opening(envelopes: Iterable[AnyEnvelope], field_: str | None, given: Opening) -> Open:
    """Check what envelopes are to be opened with, and read them; what is none stands as its error."""
    descriptor = None if field_ is None else default_descriptor(_text(field_, "field"))
    checked.schema(given.schema)
    named = forms.texts(given.context)
    elements = forms.elements(named, given.lock_context)
    bind, several = _checked_bind(given.bind), checked.several(envelopes, "envelopes", "decrypt")
    native = native_opening(several, descriptor, given.schema, elements, bind)
    left = range(len(several)) if native is None else native.left
    items: list[Any] = [None] * len(several)
    for i in left:
        items[i] = forms.attempt(forms.expect, several[i], descriptor)
    places = [i for i in left if not isinstance(items[i], WorkerError)]
    requests: Sequence[RetrieveRequest] = [items[i].request(elements) for i in places]
    if native is not None:
        requests = [*native.requests, *requests] if places else native.requests
    return Open(items, places, requests, native, named, _lock(given), given)


def is_plain(envelope: object, field_: object, given: Opening) -> TypeGuard[bytes]:
    """Whether a call is one of bytes and texts alone, which may be made together with others of equal texts."""
    if given.context is not None or given.bind is not None or given.lock_context is not None:
        return False
    return type(envelope) is bytes and all(each is None or type(each) is str for each in (field_, given.schema))


def is_plain_text(value: object, given: Sealing) -> TypeGuard[str]:
    """Whether a call seals a text and says no more than a field and a keyset, as `is_plain`."""
    is_bound = given.context is not None or given.bind is not None or given.lock_context is not None
    if type(value) is not str or is_bound or given.policy != () or given.format != "record" or given.schema is not None:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return given.keyset is None or type(given.keyset) is str


def raised(results: list[Any], errors: str) -> list[Any]:
    """Return results, or raise the first error among them; of several it says which one it is, counted from 0."""
    if errors == "raise":
        for i, item in enumerate(results):
            if isinstance(item, WorkerError):
                raise item if len(results) == 1 else placed(item, i)
    return results


def placed(error: WorkerError, index: int) -> WorkerError:
    """Return an error that says which of several items it is of; a copy, since one refusal may stand for many."""
    told = copy.copy(error)
    told.args = (f"item {index}: {error}",)
    return told


def _lock(given: Sealing | Opening) -> tuple[ContextElement, ...]:
    return () if given.lock_context is None else given.lock_context.elements


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{what} is a text, as 'acme.crm.Customer/email', not a {type(value).__name__}")
    return checked.text(value, what)


def _checked_bind(bind: Bind | None) -> Bind:
    named = {} if bind is None else checked.mapping(bind, "bind", '{"id": b"..."}')
    for name, value in named.items():
        checked.text(name, "a name in bind")
        if not isinstance(value, bytes | bytearray | memoryview):
            raise ConfigError(
                f"bind[{name!r}] is a {type(value).__name__}; bound values are bytes, the sibling's whole Avro binary "
                "(`decrypt_row` takes a row's own values)"
            )
    return {name: bytes(value) for name, value in named.items()}
