"""What a key is bound to: its context, resolved, or its decryption policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.authority import decoding, material, wire
from worker.authority.access import Caller
from worker.authority.material import Item, KeysetSecrets
from worker.authority.refusal import Refusal

LOCK = "Context did not satisfy lock requirements"


def resolve(caller: Caller, key: wire.GenerateItem, tag: bytes = b"") -> tuple[Item, int, dict[str, Any] | None]:
    """Return an item, the version of its tag, and its policy completed; raises a 403 where a claim is missing."""
    iv, descriptor = decoding.decode_iv(key.iv), key.descriptor.encode()
    if key.decryption_policy is None:
        return Item(iv, descriptor, bound_all(caller, key.context), tag), 0, None
    if key.context:
        raise Refusal(400, "a key has a context or a decryption policy, not both")
    conditions = []
    for condition in key.decryption_policy.conditions:
        value = condition.value if condition.value is not None else caller.claims.get(condition.claim)
        if value is None:
            raise Refusal(403, LOCK)
        conditions.append({"claim": condition.claim, "value": value})
    bound = b"".join(material.framed(c["claim"].encode(), c["value"].encode()) for c in conditions)
    return Item(iv, descriptor, bound, tag), 1, {"conditions": conditions}


def bound_all(caller: Caller, context: Sequence[wire.Element]) -> bytes:
    """Return a context, resolved, in its canonical bytes; raises a 400, or a 403 where a claim is missing."""
    return b"".join([_bound(caller, element) for element in context]) if context else b""


def _bound(caller: Caller, element: wire.Element) -> bytes:
    given = [v for v in (element.Tag, element.Value, element.IdentityClaim) if v is not None]
    if len(given) != 1:
        raise Refusal(400, "a context element is exactly one of Tag, Value and IdentityClaim")
    if element.Tag is not None:
        return material.framed(b"tag", element.Tag.encode())
    if element.Value is not None:
        return material.framed(b"value", element.Value[0].encode(), element.Value[1].encode())
    claim = str(element.IdentityClaim)
    if claim not in caller.claims:
        raise Refusal(403, LOCK)
    return material.framed(b"claim", claim.encode(), caller.claims[claim].encode())


def checked(caller: Caller, secrets: KeysetSecrets, key: wire.RetrieveItem) -> Item:
    """Return an item of which the tag is right and the policy met; raises a 403 where it is not."""
    item, version, policy = resolve(caller, key, bytes(key.tag))
    if version != key.tag_version:
        raise Refusal(400, "tag_version is 1 with a decryption policy and 0 without")
    material.check_tag(secrets, version, item)
    if policy and not any(caller.claims.get(c["claim"]) == c["value"] for c in policy["conditions"]):
        raise Refusal(403, LOCK)
    return item
