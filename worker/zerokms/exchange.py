"""
What is said to the key service and what its answers mean, without any I/O: each call yields what is to be posted.

Source: protocol 4, 5.3 and 8.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar
from uuid import UUID, uuid4

import orjson
import pybase64

from worker.errors import KeyAccessDenied, KeyMaterialError
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest
from worker.native.keys import Answer
from worker.native.requests import NativeRequests, Part
from worker.zerokms import wire
from worker.zerokms.checked import derive_checked
from worker.zerokms.credentials import Credentials
from worker.zerokms.derive import IV_BYTES, KEY_BYTES, MATERIAL_BYTES, check_material, index_key
from worker.zerokms.fresh import FreshKeys, native_key
from worker.zerokms.http import parsed
from worker.zerokms.refused import ERASED

_ENCODED_BYTES = MATERIAL_BYTES * 4 // 3
_REASON_CHARACTERS = 200
_RETRIEVE = "retrieve-data-key-fallible"
_T = TypeVar("_T")


class Call(NamedTuple):
    """What is posted where; `request_id` where the body names one."""

    endpoint: str
    body: bytes
    request_id: UUID | None = None


Exchange = Generator[Call, Any, _T]
"""Yields one call, is sent the reply's JSON (or is thrown the verdict on it), and returns what it says."""


@dataclass(frozen=True, slots=True)
class LoadedKeyset:
    """A keyset as the service names it, with its index key of 32 bytes; whether subjects can be erased from it."""

    id: UUID
    name: str
    index_key: bytes = field(repr=False)
    is_disabled: bool = False
    is_erasable: bool = False


@dataclass(frozen=True, slots=True)
class Keyset:
    """A keyset as the service lists it."""

    id: UUID
    name: str
    description: str
    is_disabled: bool
    is_default: bool


class Exchanges:
    """
    The calls of one client; thread-safe.

    Args:
        credentials: the client's id and its half of the keys.
        metrics: where keys are counted.
    """

    def __init__(self, credentials: Credentials, metrics: Metrics | None = None) -> None:
        self._credentials, self._metrics = credentials, metrics
        self.native = native_key(credentials.client_key)

    def load(self, ref: str | UUID | None) -> Exchange[LoadedKeyset]:
        """Ask for a keyset by name or uuid, None for the client's own default."""
        body = {"client_id": str(self._credentials.client_id), "keyset_id": wire.keyset_reference(ref)}
        reply = parsed("load-keyset", (yield Call("load-keyset", orjson.dumps(body))))
        try:
            dataset = reply["dataset"]
            data = wire.material(reply["partial_index_key"]["key_material"])
            identity, name, disabled = UUID(dataset["id"]), str(dataset["name"]), bool(dataset["is_disabled"])
            erasable = dataset.get("erasable") is True
        except (KeyError, TypeError, ValueError) as exc:
            raise KeyMaterialError("load-keyset: the answer has another shape than the protocol's") from exc
        check_material(self._credentials.client_key, bytes(IV_BYTES), data)
        return LoadedKeyset(identity, name, index_key(self._credentials.client_key, data), disabled, erasable)

    def keysets(self) -> Exchange[list[Keyset]]:
        """Ask for the workspace's keysets, disabled ones included."""
        reply = parsed("list-keysets", (yield Call("list-keysets", orjson.dumps({"show_disabled": True}))))
        try:
            return [
                Keyset(
                    UUID(k["id"]), str(k["name"]), str(k["description"]), k["is_disabled"], k.get("is_default", False)
                )
                for k in reply
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise KeyMaterialError("list-keysets: the answer has another shape than the protocol's") from exc

    def generate(self, keyset: UUID, specs: Sequence[KeySpec], audit: Audit) -> Exchange[Sequence[DataKey]]:
        """Ask for one fresh key per spec, of one keyset, in one request."""
        asked, request_id = FreshKeys(specs, os.urandom(IV_BYTES * len(specs))), uuid4()
        items = asked.items() if self.native is None else asked.native_items()
        data = yield self._call("generate-data-key", keyset, items, len(specs), audit, request_id)
        made = None if self.native is None else asked.native_keys(self.native, keyset, request_id, data)
        keys = self._made(asked, keyset, request_id, data) if made is None else made
        self._count("generated", len(specs))
        return keys

    def _made(self, asked: FreshKeys, keyset: UUID, request_id: UUID, data: bytes) -> list[DataKey]:
        reply = _members("generate-data-key", data, len(asked.specs))
        tags = [wire.tag(_member(item, "tag")) for item in reply]
        policies = [wire.read_policy(item.get("decryption_policy")) for item in reply]
        secrets = self._derive(asked.ivs, [_member(item, "key_material") for item in reply])
        return [
            DataKey(
                secret, iv=iv, tag=tag, keyset=keyset, descriptor=spec.descriptor, policy=policy, request_id=request_id
            )
            for secret, iv, tag, spec, policy in zip(secrets, asked.each, tags, asked.specs, policies, strict=True)
        ]

    def retrieve(
        self, keyset: UUID, requests: Sequence[RetrieveRequest], audit: Audit
    ) -> Exchange[list[DataKey | KeyRefused]]:
        """Ask for keys of one keyset again, in one request; each is granted or refused for itself."""
        request_id, count = uuid4(), len(requests)
        items = b",".join(orjson.dumps(wire.retrieve_item(request)) for request in requests)
        try:
            data = yield self._call(_RETRIEVE, keyset, items, count, audit, request_id)
        except KeyAccessDenied as exc:
            return [KeyRefused(str(exc), is_whole=True)] * count
        reply = [_verdict(item) for item in _members(_RETRIEVE, data, count)]
        self._count("retrieved", count)
        opened = [(i, text) for i, (text, why) in enumerate(reply) if why is None]
        secrets = self._derive(b"".join(requests[i].iv for i, _ in opened), [text for _, text in opened])
        answers: list[DataKey | KeyRefused] = [_refused(why or "") for _, why in reply]
        for (i, _), secret in zip(opened, secrets, strict=True):
            r = requests[i]
            answers[i] = DataKey(
                secret,
                iv=r.iv,
                tag=r.tag,
                keyset=keyset,
                descriptor=r.descriptor,
                policy=r.policy,
                request_id=request_id,
            )
        return answers

    def retrieve_native(
        self, keyset: UUID, requests: NativeRequests, start: int, stop: int, audit: Audit
    ) -> Exchange[Part]:
        """Ask for keys that requests in native memory name; see `retrieve`."""
        assert self.native is not None
        request_id, count = uuid4(), stop - start
        items = requests.bodies(start, stop, lambda elements: orjson.dumps(wire.context(elements)))
        try:
            data = yield self._call(_RETRIEVE, keyset, items, count, audit, request_id)
        except KeyAccessDenied as exc:
            return Part(count, None, {}, KeyRefused(str(exc), is_whole=True))
        try:
            first = requests.span.start
            batch, refused = self.native.retrieve(requests.native, first + start, first + stop, keyset.bytes, data)
        except ValueError as exc:
            _members(_RETRIEVE, data, count)
            raise KeyMaterialError(str(exc)) from None
        self._count("retrieved", count)
        answer = Answer(batch, keyset, request_id, lambda at: (requests[start + at].descriptor, ()))
        return Part(count, answer, {at: _refused(why) for at, why in refused})

    def _call(self, endpoint: str, keyset: UUID, items: bytes, count: int, audit: Audit, request_id: UUID) -> Call:
        if self._metrics is not None:
            self._metrics.observe("worker_authority_keys_per_request", count)
        body = wire.keys_body(self._credentials.client_id, keyset, items, audit.as_context(request_id))
        return Call(endpoint, body, request_id)

    def _count(self, event: str, count: int) -> None:
        if self._metrics is not None:
            self._metrics.inc("worker_keys_total", count, event=event)

    def _derive(self, ivs: bytes, encoded: Sequence[str]) -> list[memoryview]:
        if not encoded:
            return []
        # 528 is a multiple of 3, so the encodings have no padding and decode as one.
        if any(not isinstance(text, str) or len(text) != _ENCODED_BYTES for text in encoded):
            raise KeyMaterialError(f"the key service sent key material that is not {MATERIAL_BYTES} bytes of base64")
        try:
            materials = pybase64.b64decode("".join(encoded), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise KeyMaterialError("the key service sent key material that is not base64") from exc
        key = self._credentials.client_key
        view = memoryview(derive_checked(key, ivs, materials))
        return [view[i : i + KEY_BYTES] for i in range(0, len(view), KEY_BYTES)]


def parted(requests: Sequence[_T], keysets: Sequence[Any], size: int) -> list[tuple[Any, list[int], list[_T]]]:
    """Part requests by keyset and into at most `size` each: the keyset, their places, and the requests themselves."""
    groups: dict[Any, list[int]] = {}
    for i, keyset in enumerate(keysets):
        groups.setdefault(keyset, []).append(i)
    parts = [(ref, at[i : i + size]) for ref, at in groups.items() for i in range(0, len(at), size)]
    return [(ref, at, [requests[i] for i in at]) for ref, at in parts]


def drive(exchange: Exchange[_T], post: Any) -> _T:
    """Make one exchange with what posts; raises as both do."""
    endpoint, body, request_id = next(exchange)
    try:
        reply = post(endpoint, body, request_id=request_id)
    except KeyAccessDenied as exc:
        return ended(exchange, exc)
    return ended(exchange, reply)


def ended(exchange: Exchange[_T], reply: object) -> _T:
    """Give an exchange its reply, or the refusal in its place, and return what it says."""
    try:
        if isinstance(reply, KeyAccessDenied):
            exchange.throw(reply)
        else:
            exchange.send(reply)
    except StopIteration as end:
        found: _T = end.value
        return found
    raise AssertionError("an exchange is one request")


def _members(endpoint: str, data: bytes, count: int) -> list[dict[str, Any]]:
    reply = parsed(endpoint, data)
    keys = reply.get("keys") if isinstance(reply, dict) else None
    if not isinstance(keys, list) or len(keys) != count or not all(isinstance(key, dict) for key in keys):
        raise KeyMaterialError(f"{endpoint}: the answer does not hold one item for each of {count} keys")
    return keys


def _member(item: dict[str, Any], name: str) -> Any:
    if name not in item:
        raise KeyMaterialError(f"the key service sent a key without {name}")
    return item[name]


def _verdict(item: dict[str, Any]) -> tuple[Any, str | None]:
    """Return a key's material, or None and why it is refused."""
    granted, why = item.get("Ok"), item.get("Err")
    if len(item) == 1 and isinstance(granted, dict):
        return _member(granted, "key_material"), None
    if len(item) == 1 and isinstance(why, str):
        return None, why
    raise KeyMaterialError("the key service sent a key that is neither granted nor refused")


def _refused(why: str) -> KeyRefused:
    return KeyRefused(why[:_REASON_CHARACTERS], is_erased=why.startswith(ERASED))
