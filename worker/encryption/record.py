"""CipherStash's EncryptedRecord: one data key for one value, in every form its clients write."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import cbor2
import msgpack
import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from worker.encryption.refusal import not_an_envelope
from worker.errors import DecryptionError
from worker.model import ContextElement, DataKey, PolicyCondition, RetrieveRequest

_pack: Callable[[object], bytes] = msgpack.packb
MAX_DESCRIPTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class EncryptedRecord:
    """
    One value's ciphertext and everything but the context that is needed to ask for its key again.

    ::

        msgpack   = array(5 | 6): bin iv, bin ciphertext, bin tag, str descriptor, nil | bin keyset [, policy]
        policy    = array(1): array: array(1 | 2): str claim [, str value]
        base85    = RFC 1924 alphabet over msgpack
        cbor      = map(5 | 6): iv, ciphertext, tag, descriptor, dataset_id [, decryption_policy]
        json      = the same map, bytes as arrays of integers, dataset_id as text
        eql       = {"v": 2, "k": "ct", "i": {"t", "c"}, "c": base85} | {"v": 3, "i", "c"}, and search terms

    MessagePack must be in shortest form: one value has one encoding. The keyset and the last 4 bytes of the iv are not
    in the associated data; a change there asks for another key.

    Args:
        iv: 16 bytes; its first 12 are the AEAD's nonce.
        ciphertext: AES-256-GCM-SIV, the 16-byte tag of the AEAD at its end.
        tag: the key service's own, opaque.
        descriptor: the usage label, authenticated.
        keyset: where the key belongs; None means the client's default.
        policy: the decryption policy, empty for none.

    Source:
        tests/vectors/zerokms.json, `records`
    """

    iv: bytes
    ciphertext: bytes = field(repr=False)
    tag: bytes = field(repr=False)
    descriptor: str
    keyset: UUID | None
    policy: tuple[PolicyCondition, ...] = ()

    def to_msgpack(self) -> bytes:
        """The main form, as it stands in an Avro field."""
        items: list[object] = [
            self.iv,
            self.ciphertext,
            self.tag,
            self.descriptor,
            None if self.keyset is None else self.keyset.bytes,
        ]
        if self.policy:
            items.append(policy_array(self.policy))
        return _pack(items)

    def to_base85(self) -> str:
        """The text form, which EQL calls `c`."""
        return base64.b85encode(self.to_msgpack()).decode("ascii")

    def to_cbor(self) -> bytes:
        """The CBOR map."""
        keyset = None if self.keyset is None else self.keyset.bytes
        return cbor2.dumps(self._map(self.iv, self.ciphertext, self.tag, keyset))

    def to_json(self) -> dict[str, object]:
        """The plain JSON object, bytes as lists of integers."""
        keyset = None if self.keyset is None else str(self.keyset)
        return self._map(list(self.iv), list(self.ciphertext), list(self.tag), keyset)

    def to_eql(
        self, table: str, column: str, *, version: Literal[2, 3] = 2, terms: Mapping[str, object] | None = None
    ) -> dict[str, object]:
        """The `jsonb` payload of an EQL column; `terms` are its `hm` and `bf`."""
        payload: dict[str, object] = {"v": version}
        if version == 2:
            payload["k"] = "ct"
        payload |= {"i": {"t": table, "c": column}, "c": self.to_base85()}
        return payload | dict(terms or {})

    def request(self, context: tuple[ContextElement, ...] = ()) -> RetrieveRequest:
        """What to ask the key service for."""
        return RetrieveRequest(self.keyset, self.iv, self.tag, self.descriptor, context, self.policy)

    def _map(self, iv: object, ciphertext: object, tag: object, keyset: object) -> dict[str, object]:
        fields: dict[str, object] = {
            "iv": iv,
            "ciphertext": ciphertext,
            "tag": tag,
            "descriptor": self.descriptor,
            "dataset_id": keyset,
        }
        if self.policy:
            fields["decryption_policy"] = {"conditions": [_condition_map(c) for c in self.policy]}
        return fields


def seal_records(keys: Sequence[DataKey], typed: Sequence[bytes]) -> list[bytes]:
    """Seal each typed plaintext under its own key, as MessagePack; the caller wipes the keys."""
    out = []
    pack = msgpack.Packer().pack
    descriptor, label, keyset, keyset_bytes = None, b"", None, b""
    for key, plaintext in zip(keys, typed, strict=True):
        if key.descriptor is not descriptor:
            descriptor = key.descriptor
            label = descriptor.encode()
        if key.keyset is not keyset:
            keyset = key.keyset
            keyset_bytes = keyset.bytes
        iv, tag = key.iv, key.tag
        ciphertext = AESGCMSIV(key.secret).encrypt(iv[:12], plaintext, label + tag)
        items = [iv, ciphertext, tag, descriptor, keyset_bytes]
        if key.policy:
            items.append(policy_array(key.policy))
        out.append(pack(items))
    return out


def open_record(key: DataKey, record: EncryptedRecord) -> bytes:
    """Return the typed plaintext; raises `DecryptionError` where anything but the key was altered."""
    try:
        return AESGCMSIV(key.secret).decrypt(record.iv[:12], record.ciphertext, record.descriptor.encode() + record.tag)
    except InvalidTag:
        raise record_does_not_open() from None


def record_does_not_open() -> DecryptionError:
    """The error of a record's envelope that its key refuses."""
    return DecryptionError("the ciphertext does not open with its key: altered, or of another value")


def policy_array(policy: tuple[PolicyCondition, ...]) -> list[list[list[str]]]:
    """A decryption policy as MessagePack carries it: every struct an array, a missing value left out."""
    return [[[c.claim] if c.value is None else [c.claim, c.value] for c in policy]]


def from_msgpack(data: bytes) -> EncryptedRecord:
    """Read the MessagePack form; raises `DecryptionError` (`not_an_envelope`) for anything but its one encoding."""
    try:
        items = msgpack.unpackb(data)
        shortest = _pack(items) == data
    except (ValueError, TypeError, RecursionError):
        raise not_an_envelope("the bytes are not MessagePack") from None
    if not shortest:
        raise not_an_envelope("the MessagePack is not in its shortest form")
    if type(items) is not list or not 5 <= len(items) <= 6:
        raise not_an_envelope("the MessagePack is not an array of 5 or 6 items")
    policy = _policy_from_array(items[5]) if len(items) == 6 else ()
    return _checked(items[0], items[1], items[2], items[3], items[4], policy)


def from_base85(text: str) -> EncryptedRecord:
    """Read the text form."""
    try:
        data = base64.b85decode(text)
    except ValueError:
        raise not_an_envelope("the text is not base85") from None
    record = from_msgpack(data)
    if base64.b85encode(data).decode("ascii") != text:
        raise not_an_envelope("the base85 is not in its canonical form")
    return record


def from_cbor(data: bytes) -> EncryptedRecord:
    """Read the CBOR map."""
    try:
        fields = cbor2.loads(data)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError, EOFError):
        raise not_an_envelope("the bytes are not CBOR") from None
    record = _from_map(fields, binary=True)
    if record.to_cbor() != data:
        raise not_an_envelope("the CBOR is not in the form that is written")
    return record


def from_json(value: str | bytes | Mapping[str, object]) -> EncryptedRecord:
    """Read the plain JSON object, or an EQL payload of version 2 or 3, from text or already parsed."""
    fields: object = value
    if isinstance(value, str | bytes):
        try:
            fields = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise not_an_envelope("the text is not JSON") from None
    if not isinstance(fields, Mapping):
        raise not_an_envelope("the JSON is not an object")
    if "v" not in fields:
        return _from_map(fields, binary=False)
    text = fields.get("c")
    if fields["v"] not in (2, 3) or fields.get("k", "ct") != "ct" or not isinstance(text, str):
        raise not_an_envelope("the EQL payload is not a ciphertext of version 2 or 3")
    return from_base85(text)


def _from_map(fields: object, *, binary: bool) -> EncryptedRecord:
    required = {"iv", "ciphertext", "tag", "descriptor", "dataset_id"}
    if not isinstance(fields, Mapping) or not required <= fields.keys() <= required | {"decryption_policy"}:
        raise not_an_envelope("the map does not have an encrypted record's keys")
    read = (lambda item: item) if binary else _bytes_of_integers
    keyset = fields["dataset_id"]
    if not binary and keyset is not None:
        keyset = _uuid_bytes(keyset)
    policy = _policy_from_map(fields["decryption_policy"]) if fields.get("decryption_policy") is not None else ()
    return _checked(
        read(fields["iv"]), read(fields["ciphertext"]), read(fields["tag"]), fields["descriptor"], keyset, policy
    )


def _checked(
    iv: Any, ciphertext: Any, tag: Any, descriptor: Any, keyset: Any, policy: tuple[PolicyCondition, ...]
) -> EncryptedRecord:
    if type(iv) is not bytes or len(iv) != 16:
        raise not_an_envelope("the iv is not 16 bytes")
    if type(ciphertext) is not bytes or len(ciphertext) < 16:
        raise not_an_envelope("the ciphertext is shorter than its 16-byte tag")
    if type(tag) is not bytes or type(descriptor) is not str:
        raise not_an_envelope("the tag is not bytes or the descriptor not text")
    if len(descriptor.encode(errors="surrogatepass")) > MAX_DESCRIPTOR_BYTES:
        raise not_an_envelope("the descriptor is over 512 bytes")
    if keyset is not None and (type(keyset) is not bytes or len(keyset) != 16):
        raise not_an_envelope("the keyset is not 16 bytes")
    return EncryptedRecord(iv, ciphertext, tag, descriptor, None if keyset is None else _uuid(keyset), policy)


@functools.lru_cache(maxsize=256)
def _uuid(data: bytes) -> UUID:
    return UUID(bytes=data)


def _policy_from_array(item: Any) -> tuple[PolicyCondition, ...]:
    if type(item) is not list or len(item) != 1 or type(item[0]) is not list or not item[0]:
        raise not_an_envelope("the decryption policy is not a list of conditions")
    return tuple(_condition(c) for c in item[0])


def _policy_from_map(item: Any) -> tuple[PolicyCondition, ...]:
    conditions = item.get("conditions") if isinstance(item, Mapping) and len(item) == 1 else None
    if not isinstance(conditions, list) or not conditions:
        raise not_an_envelope("the decryption policy is not a list of conditions")
    policy = []
    for c in conditions:
        if not isinstance(c, Mapping) or not {"claim"} <= c.keys() <= {"claim", "value"}:
            raise not_an_envelope("a condition is not a claim and its value")
        policy.append(_condition([c["claim"]] if c.get("value") is None else [c["claim"], c["value"]]))
    return tuple(policy)


def _condition(item: Any) -> PolicyCondition:
    if type(item) is not list or not 1 <= len(item) <= 2 or not all(type(part) is str for part in item):
        raise not_an_envelope("a condition is not a claim and its value")
    return PolicyCondition(*item)


def _condition_map(condition: PolicyCondition) -> dict[str, str]:
    if condition.value is None:
        return {"claim": condition.claim}
    return {"claim": condition.claim, "value": condition.value}


def _bytes_of_integers(item: object) -> bytes:
    if not isinstance(item, list) or not all(type(b) is int and 0 <= b < 256 for b in item):
        raise not_an_envelope("bytes are not a list of integers from 0 to 255")
    return bytes(item)


def _uuid_bytes(item: object) -> bytes:
    try:
        return UUID(str(item)).bytes
    except ValueError:
        raise not_an_envelope("the keyset is not a uuid") from None
