"""
Request bodies, read strictly: wrong shapes, lengths and encodings are refused with their place.

Source: protocol 4.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from worker.authority.material import Item, framed
from worker.authority.refusal import Refusal
from worker.authority.tokens import Caller

MAX_KEYS = 500
_MAX_DESCRIPTOR = 512
_MAX_CONTEXT = 32
_MAX_VALUE = 1024


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """One key of a request: the item for the material, its tag version and its completed policy."""

    item: Item
    version: int
    policy: dict[str, Any] | None = None
    is_satisfied: bool = True


def parse(body: bytes) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Refusal(400, "the body is not JSON") from exc
    if not isinstance(value, dict):
        raise Refusal(400, "the body is not an object")
    return value


def identity(value: object, name: str) -> UUID:
    """Read a uuid."""
    try:
        return UUID(value) if isinstance(value, str) else UUID(int=-1)
    except ValueError as exc:
        raise Refusal(400, f"{name} is not a uuid") from exc


def text(value: object, name: str, *, longest: int, shortest: int = 0) -> str:
    """Read a string of bounded length in bytes."""
    if not isinstance(value, str) or not shortest <= len(value.encode()) <= longest:
        raise Refusal(400, f"{name} is not a string of {shortest}-{longest} bytes")
    return value


def keyset_reference(body: dict[str, Any]) -> UUID | str | None:
    """Read `keyset_id` (or its old name): null, a bare uuid, `{"Uuid": ...}` or `{"Name": ...}`."""
    value = body.get("keyset_id", body.get("dataset_id"))
    if value is None:
        return None
    if isinstance(value, str):
        return identity(value, "keyset_id")
    if isinstance(value, dict) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind == "Uuid":
            return identity(inner, "keyset_id")
        if kind == "Name":
            return text(inner, "keyset_id", longest=64, shortest=1)
    raise Refusal(400, "keyset_id is none of null, a uuid, {Uuid} or {Name}")


def keys(body: dict[str, Any], caller: Caller, *, with_tag: bool) -> list[ParsedKey]:
    """Read the keys of a data-key request, contexts and policies resolved against the caller's token."""
    value = body.get("keys")
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_KEYS:
        raise Refusal(400, f"keys is not a list of 1-{MAX_KEYS}")
    if not isinstance(body.get("unverified_context", {}), dict):
        raise Refusal(400, "unverified_context is not an object")
    return [_key(item, caller, f"keys[{i}]", with_tag=with_tag) for i, item in enumerate(value)]


def _key(value: object, caller: Caller, place: str, *, with_tag: bool) -> ParsedKey:
    if not isinstance(value, dict):
        raise Refusal(400, f"{place} is not an object")
    iv = _base64(value.get("iv", value.get("id")), f"{place}.iv")
    if len(iv) != 16:
        raise Refusal(400, f"{place}.iv is not 16 bytes")
    descriptor = text(value.get("descriptor"), f"{place}.descriptor", longest=_MAX_DESCRIPTOR).encode()
    tag = _tag(value.get("tag"), f"{place}.tag") if with_tag else b""
    policy = value.get("decryption_policy")
    if policy is None:
        return ParsedKey(Item(iv, descriptor, _context(value.get("context", []), caller, place), tag), 0)
    if value.get("context"):
        raise Refusal(400, f"{place} has both a context and a decryption_policy")
    completed, satisfied = _policy(policy, caller, f"{place}.decryption_policy", complete=not with_tag)
    bound = framed(*(framed(c["claim"].encode(), c["value"].encode()) for c in completed))
    return ParsedKey(Item(iv, descriptor, bound, tag), 1, {"conditions": completed}, satisfied)


def _base64(value: object, place: str) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except binascii.Error as exc:
        raise Refusal(400, f"{place} is not base64") from exc


def _tag(value: object, place: str) -> bytes:
    if not isinstance(value, list) or len(value) > 64 or not all(type(b) is int and 0 <= b <= 255 for b in value):
        raise Refusal(400, f"{place} is not an array of byte numbers")
    return bytes(value)


def _context(value: object, caller: Caller, place: str) -> bytes:
    if not isinstance(value, list) or len(value) > _MAX_CONTEXT:
        raise Refusal(400, f"{place}.context is not a list of at most {_MAX_CONTEXT}")
    return framed(*(_element(element, caller, f"{place}.context[{i}]") for i, element in enumerate(value)))


def _element(element: object, caller: Caller, place: str) -> bytes:
    if isinstance(element, dict) and len(element) == 1:
        ((kind, value),) = element.items()
        if kind == "Tag":
            return framed(b"tag", text(value, place, longest=_MAX_VALUE).encode())
        if kind == "Value" and isinstance(value, list) and len(value) == 2:
            return framed(b"value", *(text(part, place, longest=_MAX_VALUE).encode() for part in value))
        if kind in ("IdentityClaim", "identityClaim"):
            name = text(value, place, longest=_MAX_VALUE)
            return framed(b"claim", name.encode(), _claim(caller, name).encode())
    raise Refusal(400, f"{place} is none of Tag, Value or IdentityClaim")


def _claim(caller: Caller, name: str) -> str:
    value = caller.claims.get(name)
    if not isinstance(value, str):
        raise Refusal(403, "Context did not satisfy lock requirements")
    return value


def _policy(value: object, caller: Caller, place: str, *, complete: bool) -> tuple[list[dict[str, str]], bool]:
    conditions = value.get("conditions") if isinstance(value, dict) else None
    if not isinstance(conditions, list) or not 1 <= len(conditions) <= _MAX_CONTEXT:
        raise Refusal(400, f"{place} has no conditions")
    completed: list[dict[str, str]] = []
    for condition in conditions:
        if not isinstance(condition, dict):
            raise Refusal(400, f"{place} has a condition that is no object")
        claim = text(condition.get("claim"), place, longest=_MAX_VALUE, shortest=1)
        wanted = condition.get("value")
        if wanted is None and not complete:
            raise Refusal(400, f"{place} has a condition without its value")
        completed.append(
            {
                "claim": claim,
                "value": _claim(caller, claim) if wanted is None else text(wanted, place, longest=_MAX_VALUE),
            }
        )
    return completed, any(caller.claims.get(c["claim"]) == c["value"] for c in completed)
