"""A request for data keys and its answer: as the protocol's models say it, or in native memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import orjson
import pybase64
from pydantic import TypeAdapter

from worker.authority import decoding, material, wire
from worker.authority.access import Caller
from worker.authority.audit.hashed import ContextHash
from worker.authority.bound import LOCK, checked, resolve
from worker.authority.material import NONCE_BYTES, Item, KeysetSecrets
from worker.authority.refusal import Refusal
from worker.zerokms.derive import Permutations

if TYPE_CHECKING:
    from worker import _native

_FEW, _FEW_NATIVE, _FEW_BYTES = 8, 64, 24 * 1024
_context: TypeAdapter[list[wire.Element]] = TypeAdapter(list[wire.Element])
_Errors: TypeAlias = dict[int, Refusal]
Values = Sequence[tuple[str, str]]
"""The names and texts of a context's values."""
Leaves = Callable[[Values], bytes]
"""Returns what a context's values add to the keys of an erasable keyset; raises a 403 where one of them was erased."""
Answer = Callable[[], Any]
"""Derives the keys of a request that nothing can refuse any more, and returns what is sent."""


class Maker(NamedTuple):
    """
    What keys are made with: a keyset's secrets, and a client's share of it.

    `leaves` finds those of contexts; None where the keyset is not erasable.
    """

    secrets: KeysetSecrets
    share: Permutations
    leaves: Leaves | None


class Ready(NamedTuple):
    """An answer that is JSON already."""

    json: bytes


class Asked(Protocol):
    """What is asked for."""

    @property
    def head(self) -> wire.Generate | wire.Retrieve:
        """The body, whose keys need not be there."""
        ...

    @property
    def descriptors(self) -> Mapping[str, int]:
        """How many keys of each descriptor."""
        ...

    def hashes(self, hashed: ContextHash) -> Sequence[str]:
        """Return the hashes of the distinct contexts that are not empty, ascending."""
        ...

    def __len__(self) -> int: ...

    def generate(self, caller: Caller, maker: Maker) -> Answer:
        """Return what makes one fresh key each; raises a 400 or 403."""
        ...

    def retrieve(self, caller: Caller, maker: Maker, *, fallible: bool) -> tuple[int, Answer]:
        """Return how many keys are refused, and what makes the others again; raises the first unless `fallible`."""
        ...


def asked(body: wire.Generate | wire.Retrieve | Asked) -> Asked:
    """Return a body as what is asked for."""
    return PlainAsked(body) if isinstance(body, wire.Generate | wire.Retrieve) else body


def is_brief(body: object) -> bool:
    """Whether a body is answered sooner than handed to another thread."""
    if isinstance(body, NativeAsked):
        return len(body) <= _FEW_NATIVE and body.size <= _FEW_BYTES
    return len(getattr(body, "keys", ())) <= _FEW


@dataclass(frozen=True, slots=True)
class PlainAsked:
    """What the protocol's models say."""

    head: wire.Generate | wire.Retrieve

    def __len__(self) -> int:
        return len(self.head.keys)

    @property
    def descriptors(self) -> Mapping[str, int]:
        """How many keys of each descriptor."""
        return Counter(key.descriptor for key in self.head.keys)

    def hashes(self, hashed: ContextHash) -> Sequence[str]:
        """See `Asked.hashes`."""
        return sorted({hashed(key.context) for key in self.head.keys if key.context})

    def generate(self, caller: Caller, maker: Maker) -> Answer:
        """See `Asked.generate`."""
        groups = [resolve(caller, key) for key in self.head.keys]
        items = [item for item, _, _ in groups]
        if maker.leaves is not None:
            leaves, refused = _leaves_of(maker.leaves, [_values(key.context) for key in self.head.keys])
            _raise_erased(refused)
            items = [item._replace(leaves=each) for item, each in zip(items, leaves, strict=True)]
        tags = material.make_tags(
            maker.secrets, [(item, version) for item, (_, version, _) in zip(items, groups, strict=True)]
        )

        def made() -> Any:
            keys = []
            texts = _encode(material.materials(maker.secrets, maker.share, items, tags), len(items))
            for text, tag, (_, _, policy) in zip(texts, tags, groups, strict=True):
                key: dict[str, Any] = {"key_material": text, "tag": pybase64.b64encode_as_string(tag)}
                if policy is not None:
                    key["decryption_policy"] = policy
                keys.append(key)
            return Ready(_joined(keys))

        return made

    def retrieve(self, caller: Caller, maker: Maker, *, fallible: bool) -> tuple[int, Answer]:
        """See `Asked.retrieve`."""
        errors: _Errors = {}
        items: list[Item] = []
        for at, key in enumerate(self.head.keys):
            assert isinstance(key, wire.RetrieveItem)
            try:
                item = checked(caller, maker.secrets, key)
                leaves = b"" if maker.leaves is None else maker.leaves(_values(key.context))
                items.append(item._replace(leaves=leaves))
            except Refusal as exc:
                if exc.status >= 500:
                    raise
                errors[at] = exc
        _raise_first(errors, fallible=fallible)

        def made() -> Any:
            texts = _encode(material.materials(maker.secrets, maker.share, items, [i.tag for i in items]), len(items))
            if not fallible:
                return {"keys": [{"key_material": text} for text in texts]}
            each = iter(texts)
            places = range(len(self.head.keys))
            return {
                "keys": [
                    {"Err": str(errors[at])} if at in errors else {"Ok": {"key_material": next(each)}} for at in places
                ]
            }

        return len(errors), made


@dataclass(frozen=True, slots=True)
class NativeAsked:
    """What lies in native memory; `size` is the body's, in bytes."""

    native: _native.Asked
    head: wire.Generate | wire.Retrieve
    size: int

    def __len__(self) -> int:
        return len(self.native)

    @property
    def descriptors(self) -> Mapping[str, int]:
        """How many keys of each descriptor."""
        return dict(self.native.descriptors)

    def hashes(self, hashed: ContextHash) -> Sequence[str]:
        """See `Asked.hashes`."""
        hashes, left = self.native.hashes(hashed.secret)
        others = {hashed(_context.validate_python(decoding.parse(text))) for text in left}
        return sorted({*hashes, *others}) if others else hashes

    def generate(self, caller: Caller, maker: Maker) -> Answer:
        """See `Asked.generate`."""
        if self.native.barred(caller.claims):
            raise Refusal(403, LOCK)
        leaves, refused = self._leaves(maker)
        _raise_erased(refused)
        nonces, native = os.urandom(NONCE_BYTES * len(self)), material.native_share(maker.secrets, maker.share)
        return lambda: Ready(self.native.generate(native, nonces, caller.claims, leaves))

    def retrieve(self, caller: Caller, maker: Maker, *, fallible: bool) -> tuple[int, Answer]:
        """See `Asked.retrieve`."""
        native = material.native_share(maker.secrets, maker.share)
        leaves, refused = self._leaves(maker)
        errors: _Errors = {at: Refusal(403, LOCK) for at in self.native.altered(native, caller.claims)}
        # A missing claim, or a wrong tag, is told before that a value was erased.
        refused |= dict.fromkeys(self.native.barred(caller.claims), Refusal(403, LOCK))
        if refused:
            for at, number in enumerate(self.native.numbers()):
                if number in refused:
                    errors.setdefault(at, refused[number])
        _raise_first(errors, fallible=fallible)
        told = {at: str(error) for at, error in errors.items()}
        return len(errors), lambda: Ready(self.native.retrieve(native, told, fallible, leaves))

    def _leaves(self, maker: Maker) -> tuple[list[bytes] | None, _Errors]:
        return (None, {}) if maker.leaves is None else _leaves_of(maker.leaves, self.native.values())


def _values(context: Sequence[wire.Element]) -> Values:
    return [element.Value for element in context if element.Value is not None]


def _leaves_of(find: Leaves, contexts: Iterable[Values]) -> tuple[list[bytes], _Errors]:
    """Return what each context adds, nothing where that is refused, and which are."""
    leaves: list[bytes] = []
    refused: _Errors = {}
    for number, values in enumerate(contexts):
        try:
            leaves.append(find(values))
        except Refusal as exc:
            if exc.status >= 500:
                raise
            leaves.append(b"")
            refused[number] = exc
    return leaves, refused


def _raise_erased(refused: _Errors) -> None:
    if refused:
        each = {tuple(value): value for refusal in refused.values() for value in refusal.more.get("erased", ())}
        first = refused[min(refused)]
        raise Refusal(first.status, first.reason, more={"erased": list(each.values())} if each else None)


def _raise_first(errors: _Errors, *, fallible: bool) -> None:
    if errors and not fallible:
        raise errors[min(errors)]


def _joined(keys: Sequence[Mapping[str, Any]]) -> bytes:
    # One by one: as a whole it would keep the interpreter from others.
    return b'{"keys":[' + b",".join([orjson.dumps(key) for key in keys]) + b"]}"


def _encode(materials: bytes, count: int) -> list[str]:
    # 528 is a multiple of 3, so the encoding of all is the encodings of each, without padding.
    text = pybase64.b64encode_as_string(materials)
    width = len(text) // max(1, count)
    return [text[i * width : (i + 1) * width] for i in range(count)]
