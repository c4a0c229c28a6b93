"""Descriptors that nobody wrote by hand: of long identities, and of a type's further uses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from worker.avro.shape import Covered

MAX_DESCRIPTOR_BYTES = 255


def default_descriptor(identity: str) -> str:
    """
    Return the descriptor of an identity: itself, or where it has more than 255 bytes a hash of it.

    Source:
        docs/contracts.md, 2
    """
    data = identity.encode()
    return identity if len(data) <= MAX_DESCRIPTOR_BYTES else f"sha256:{hashlib.sha256(data).hexdigest()}"


def spread(covered: Sequence[Covered]) -> None:
    """
    Tell the uses of a type apart whose field names a descriptor.

    The first use keeps it; each further one adds `#` and the first 16 hex digits of its own identity's SHA-256, so that
    another use behind it changes nothing.
    """
    owners: dict[str, str] = {}
    for one in covered:
        plan = one.plan
        if plan.descriptor_is_explicit and owners.setdefault(plan.descriptor, plan.identity) != plan.identity:
            own = hashlib.sha256(plan.identity.encode()).hexdigest()[:16]
            one.plan = replace(plan, descriptor=default_descriptor(f"{plan.descriptor}#{own}"))
