"""What an envelope says of itself in the clear: whose keys it needs, its format, its field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from worker.encryption import leased, record
from worker.encryption.leased import LeasedEnvelope
from worker.errors import DecryptionError
from worker.model import FieldPlan, Format


class Mark(NamedTuple):
    """Keyset (None: the client's own), format and descriptor."""

    keyset: UUID | None
    format: Format
    descriptor: str

    @property
    def tell(self) -> tuple[bytes, int]:
        """Bytes that an envelope of this keyset and format has, and where, counted from 1, or from its end."""
        keyset = UUID(int=0).bytes if self.keyset is None else self.keyset.bytes
        return (keyset, -16) if self.format == "record" else (b"\x01\x00" + keyset, 1)


def mark_of(envelope: bytes) -> Mark:
    """Return an envelope's mark; raises `DecryptionError` for what is none."""
    if envelope[:1] == b"\x01":
        found = LeasedEnvelope.parse(envelope)
        return Mark(found.keyset, "leased", found.descriptor)
    parsed = record.from_msgpack(envelope)
    return Mark(parsed.keyset, "record", parsed.descriptor)


class Marks:
    """
    Tells envelopes that are as they should be from others.

    Args:
        plans: of the fields as they are to be.
        resolve: a keyset's uuid, by name or uuid text.
    """

    def __init__(self, plans: Sequence[FieldPlan], resolve: Callable[[str | None], UUID]) -> None:
        uuids = {name: resolve(name) for name in {plan.keyset for plan in plans}}
        self.of: Mapping[str, Mark] = {
            plan.identity: Mark(uuids[plan.keyset], plan.format, plan.descriptor) for plan in plans
        }
        self._heads = {
            identity: b"\x95" if mark.format == "record" else mark.tell[0] for identity, mark in self.of.items()
        }

    def has(self, identity: str, envelope: bytes) -> bool:
        """Whether an envelope of a field is under the keyset, in the format and with the descriptor it should have."""
        mark = self.of[identity]
        if not envelope.startswith(self._heads[identity]):
            return False
        try:
            if mark.format == "record":
                return mark_of(envelope) == mark
            end = leased.header_end(envelope) - leased.FINGERPRINT_BYTES
        except DecryptionError:
            return False
        descriptor = mark.descriptor.encode()
        return envelope[end - len(descriptor) - 1 : end] == bytes((len(descriptor),)) + descriptor
