"""The calls for data keys, written and read: in native memory where that can be, else object by object."""

from __future__ import annotations

import binascii
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import pybase64

from worker.errors import KeyMaterialError
from worker.model import ContextElement, DataKey, KeyRefused, KeySpec, PolicyCondition, RetrieveRequest
from worker.native import IS_LOADED, extension
from worker.native.keys import Answer, KeyRun, Label
from worker.native.requests import NativeRequests, Part
from worker.zerokms import wire
from worker.zerokms.checked import derive_checked
from worker.zerokms.derive import IV_BYTES, KEY_BYTES, MATERIAL_BYTES, ClientKey
from worker.zerokms.http import not_json

if TYPE_CHECKING:
    from worker import _native

_ENCODED_BYTES = MATERIAL_BYTES * 4 // 3
_REASON_CHARACTERS = 200


def native_key(client_key: ClientKey) -> _native.ClientKey | None:
    """Return a client key as the extension holds it; None without the extension."""
    if not IS_LOADED:
        return None
    parts = (client_key.p1, client_key.p2_from, client_key.p2_to, client_key.p3)
    return extension.ClientKey(*(part.tobytes() for part in parts))


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """
    One call of at most as many keys as a request takes.

    Args:
        client_id: whose keyset it is.
        client_key: our half.
        native: the same for the extension.
        keyset: resolved.
        request_id: the call's own.
        unverified: what the audit is told.
    """

    client_id: UUID
    client_key: ClientKey
    native: _native.ClientKey | None
    keyset: UUID
    request_id: UUID
    unverified: Mapping[str, str]

    def generate(self, specs: Sequence[KeySpec], post: Callable[[bytes], bytes]) -> Sequence[DataKey]:
        """Return a fresh key for each spec. Raises as `post`, or `KeyMaterialError`."""
        runs = [(spec, sum(1 for _ in same)) for spec, same in groupby(specs)]
        ivs = os.urandom(IV_BYTES * len(specs))
        each = [ivs[i : i + IV_BYTES] for i in range(0, len(ivs), IV_BYTES)] if self.native is None else []
        if self.native is None:
            items = b",".join(map(orjson.dumps, wire.generate_items(specs, each)))
        else:
            items = extension.generate_items(ivs, [(_common(spec), count) for spec, count in runs])
        reply = post(self._body(items))
        if self.native is not None:
            try:
                return self._run(runs, *self._generated(ivs, runs, reply))
            except ValueError:
                # The twin says what is wrong with it.
                each = [ivs[i : i + IV_BYTES] for i in range(0, len(ivs), IV_BYTES)]
        return self._made(specs, ivs, each, members("generate-data-key", reply, len(specs)))

    def retrieve(
        self, requests: Sequence[RetrieveRequest], post: Callable[[bytes], bytes]
    ) -> list[DataKey | KeyRefused]:
        """Return the key of each request, or why it is refused. Raises as `generate`."""
        items = b",".join(orjson.dumps(wire.retrieve_item(request)) for request in requests)
        reply = members("retrieve-data-key-fallible", post(self._body(items)), len(requests))
        opened = [(i, _member(item["Ok"], "key_material")) for i, item in enumerate(reply) if "Ok" in item]
        secrets = self._derive(b"".join(requests[i].iv for i, _ in opened), [text for _, text in opened])
        answers: list[DataKey | KeyRefused] = [
            KeyRefused(str(item.get("Err", "refused"))[:_REASON_CHARACTERS]) for item in reply
        ]
        for (i, _), secret in zip(opened, secrets, strict=True):
            r = requests[i]
            answers[i] = DataKey(
                secret,
                iv=r.iv,
                tag=r.tag,
                keyset=self.keyset,
                descriptor=r.descriptor,
                policy=r.policy,
                request_id=self.request_id,
            )
        return answers

    def retrieve_native(self, requests: NativeRequests, start: int, stop: int, post: Callable[[bytes], bytes]) -> Part:
        """Return the answer to some requests that lie in native memory. Raises as `generate`."""
        assert self.native is not None
        reply = post(self._body(requests.bodies(start, stop, _context)))
        try:
            batch, refused = self.native.retrieve(requests.native, start, stop, self.keyset.bytes, reply)
        except ValueError as exc:
            members("retrieve-data-key-fallible", reply, stop - start)
            raise KeyMaterialError(str(exc)) from None
        reasons = {at: why[:_REASON_CHARACTERS] for at, why in refused}
        label = partial(_label_of, requests, start)
        return Part(stop - start, Answer(batch, self.keyset, self.request_id, label), reasons)

    def _body(self, items: bytes) -> bytes:
        head = {"client_id": str(self.client_id), "keyset_id": wire.keyset_reference(self.keyset)}
        told = orjson.dumps(self.unverified)
        return b'%b,"keys":[%b],"unverified_context":%b}' % (orjson.dumps(head)[:-1], items, told)

    def _generated(
        self, ivs: bytes, runs: Sequence[tuple[KeySpec, int]], reply: bytes
    ) -> tuple[_native.KeyBatch, list[list[tuple[str, str | None]] | None] | None]:
        assert self.native is not None
        return self.native.generate(ivs, self.keyset.bytes, [(spec.descriptor, count) for spec, count in runs], reply)

    def _run(
        self,
        runs: Sequence[tuple[KeySpec, int]],
        batch: _native.KeyBatch,
        told: list[list[tuple[str, str | None]] | None] | None,
    ) -> KeyRun:
        policies = None if told is None else [_conditions(policy) for policy in told]
        return KeyRun([(Answer(batch, self.keyset, self.request_id, partial(_label, runs, policies)), 0, len(batch))])

    def _made(
        self, specs: Sequence[KeySpec], ivs: bytes, each: Sequence[bytes], reply: Sequence[dict[str, Any]]
    ) -> list[DataKey]:
        tags = [wire.decode_base64(_member(item, "tag"), "a tag") for item in reply]
        policies = [wire.read_policy(item.get("decryption_policy")) for item in reply]
        secrets = self._derive(ivs, [_member(item, "key_material") for item in reply])
        return [
            DataKey(
                secret,
                iv=iv,
                tag=tag,
                keyset=self.keyset,
                descriptor=spec.descriptor,
                policy=policy,
                request_id=self.request_id,
            )
            for secret, iv, tag, spec, policy in zip(secrets, each, tags, specs, policies, strict=True)
        ]

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
        view = memoryview(derive_checked(self.client_key, ivs, materials))
        return [view[i : i + KEY_BYTES] for i in range(0, len(view), KEY_BYTES)]


def members(endpoint: str, reply: bytes, count: int) -> list[dict[str, Any]]:
    """Return a reply's items, one for each key asked for; raises `KeyMaterialError` or `KeyServiceUnavailable`."""
    try:
        parsed = orjson.loads(reply)
    except orjson.JSONDecodeError as exc:
        raise not_json(endpoint) from exc
    keys = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(keys, list) or len(keys) != count or not all(isinstance(key, dict) for key in keys):
        raise KeyMaterialError(f"{endpoint}: the answer does not hold one item for each of {count} keys")
    return keys


def _member(item: dict[str, Any], name: str) -> Any:
    if name not in item:
        raise KeyMaterialError(f"the key service sent a key without {name}")
    return item[name]


def _common(spec: KeySpec) -> bytes:
    """Everything of an item behind its iv."""
    item = wire.generate_item(spec, b"")
    del item["iv"]
    return orjson.dumps(item)[1:]


def _context(elements: Sequence[ContextElement]) -> bytes:
    return orjson.dumps(wire.context(elements))


def _conditions(policy: list[tuple[str, str | None]] | None) -> tuple[PolicyCondition, ...]:
    return tuple(PolicyCondition(claim, value) for claim, value in policy or ())


def _label(
    runs: Sequence[tuple[KeySpec, int]], policies: Sequence[tuple[PolicyCondition, ...]] | None, at: int
) -> Label:
    policy = () if policies is None else policies[at]
    for spec, count in runs:
        if at < count:
            return spec.descriptor, policy
        at -= count
    raise IndexError("no such key")


def _label_of(requests: NativeRequests, start: int, at: int) -> Label:
    return requests[start + at].descriptor, ()
