"""
The JSON bodies of the key service's calls, without any I/O.

Source: protocol 4; tests/vectors/zerokms.json, `wire_json`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from worker.errors import ConfigError, KeyMaterialError
from worker.model import ContextElement, IdentityClaim, KeySpec, PolicyCondition, RetrieveRequest, Tag
from worker.zerokms.derive import MATERIAL_BYTES

Json = dict[str, Any]
MOST_TAG_BYTES = 255
_POLICY = "the key service sent a malformed decryption policy"


def keyset_reference(ref: str | UUID | None) -> Json | None:
    """Write a keyset reference: `{"Uuid": ...}`, `{"Name": ...}` or null for the client's own default."""
    if ref is None:
        return None
    if isinstance(ref, UUID):
        return {"Uuid": str(ref)}
    try:
        return {"Uuid": str(UUID(ref))}
    except ValueError:
        return {"Name": ref}


def context(elements: Sequence[ContextElement]) -> list[Json]:
    """Write a key's context, order kept."""
    return [_element(element) for element in elements]


def _element(element: ContextElement) -> Json:
    if isinstance(element, Tag):
        return {"Tag": element.label}
    if isinstance(element, IdentityClaim):
        return {"IdentityClaim": element.claim}
    return {"Value": [element.name, element.value]}


def policy(conditions: Sequence[PolicyCondition]) -> Json:
    """Write a decryption policy; a condition without a value lets the server fill it from the token."""
    return {
        "conditions": [
            {"claim": c.claim} if c.value is None else {"claim": c.claim, "value": c.value} for c in conditions
        ]
    }


def generate_item(spec: KeySpec, iv: bytes) -> Json:
    """Write one key of `generate-data-key`."""
    if len(spec.descriptor.encode()) > 512:
        raise ConfigError("a descriptor is longer than 512 bytes")
    item: Json = {
        "iv": base64.b64encode(iv).decode(),
        "descriptor": spec.descriptor,
        "context": [] if spec.policy else context(spec.context),
    }
    if spec.policy:
        item["decryption_policy"] = policy(spec.policy)
    return item


def generate_items(specs: Sequence[KeySpec], ivs: Sequence[bytes]) -> list[Json]:
    """Write the keys of `generate-data-key`; a run of one spec is written once and differs in its iv."""
    items: list[Json] = []
    last: KeySpec | None = None
    common: Json = {}
    for spec, iv in zip(specs, ivs, strict=True):
        if spec is not last:
            last, common = spec, generate_item(spec, iv)
        items.append(common | {"iv": binascii.b2a_base64(iv, newline=False).decode()})
    return items


def retrieve_item(request: RetrieveRequest) -> Json:
    """Write one key of `retrieve-data-key`; the tag goes as an array of numbers."""
    item: Json = {
        "iv": base64.b64encode(request.iv).decode(),
        "descriptor": request.descriptor,
        "tag": list(request.tag),
        "context": context(request.context),
        "tag_version": 1 if request.policy else 0,
    }
    if request.policy:
        item["decryption_policy"] = policy(request.policy)
    return item


def keys_body(client_id: UUID, keyset: str | UUID | None, items: bytes, unverified: Json) -> bytes:
    """Write the body that all three data-key calls share; `items` are JSON with commas between."""
    head = orjson.dumps({"client_id": str(client_id), "keyset_id": keyset_reference(keyset)})
    return b'%b,"keys":[%b],"unverified_context":%b}' % (head[:-1], items, orjson.dumps(unverified))


def material(value: object) -> bytes:
    """Read one key material; raises `KeyMaterialError` where it is not base64 of 528 bytes."""
    data = decode_base64(value, "key material")
    if len(data) != MATERIAL_BYTES:
        raise KeyMaterialError(f"the key service sent key material of {len(data)} bytes, not {MATERIAL_BYTES}")
    return data


def tag(value: object) -> bytes:
    """Read a fresh key's tag; raises `KeyMaterialError` also where a lease's envelope has no room for its length."""
    data = decode_base64(value, "a tag")
    if len(data) > MOST_TAG_BYTES:
        raise KeyMaterialError(f"the key service sent a tag of more than {MOST_TAG_BYTES} bytes")
    return data


def decode_base64(value: object, what: str) -> bytes:
    """Read standard base64; raises `KeyMaterialError`."""
    if not isinstance(value, str):
        raise KeyMaterialError(f"the key service sent {what} that is no text")
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except (binascii.Error, ValueError) as exc:
        raise KeyMaterialError(f"the key service sent {what} that is not base64") from exc


def read_policy(value: object) -> tuple[PolicyCondition, ...]:
    """Read the policy that the service completed."""
    if value is None:
        return ()
    try:
        conditions = [(c["claim"], c.get("value")) for c in value["conditions"]]  # type: ignore[index]
    except (KeyError, TypeError, AttributeError) as exc:
        raise KeyMaterialError(_POLICY) from exc
    if not all(isinstance(claim, str) and isinstance(text, str | None) for claim, text in conditions):
        raise KeyMaterialError(_POLICY)
    return tuple(PolicyCondition(claim, text) for claim, text in conditions)
