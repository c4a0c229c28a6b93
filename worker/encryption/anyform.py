"""An envelope in whatever form it was found."""

from __future__ import annotations

import re
from collections.abc import Mapping

from worker.encryption import record
from worker.encryption.leased import VERSION, LeasedEnvelope
from worker.encryption.record import EncryptedRecord
from worker.encryption.refusal import not_an_envelope
from worker.errors import DecryptionError

_HEX = re.compile(r"(\\x)?([0-9a-fA-F]{2})+")
AnyEnvelope = bytes | str | Mapping[str, object]


def parse(envelope: AnyEnvelope) -> EncryptedRecord | LeasedEnvelope:
    """
    Read an envelope by its first byte or character (docs/envelopes.md).

    Bytes are a lease, MessagePack or CBOR; text is JSON, EQL or base85; a mapping is parsed JSON or EQL.

    Raises:
        DecryptionError: it is none of these (`not_an_envelope`).
    """
    if isinstance(envelope, Mapping):
        return record.from_json(envelope)
    if isinstance(envelope, str):
        return record.from_json(envelope) if envelope[:1] == "{" else _of_text(envelope)
    first = envelope[0] if envelope else -1
    if first == VERSION:
        return LeasedEnvelope.parse(envelope)
    if first in (0x95, 0x96):
        return record.from_msgpack(envelope)
    if first in (0xA5, 0xA6):
        return record.from_cbor(envelope)
    raise not_an_envelope("its first byte is of no known format")


def _of_text(text: str) -> EncryptedRecord:
    try:
        return record.from_base85(text)
    except DecryptionError:
        if _HEX.fullmatch(text):
            raise not_an_envelope(
                "the text is hex; give the bytes (bytes.fromhex), as a bytea column has them"
            ) from None
        raise
