"""The leased envelope: one data key for many values, a random nonce for each."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.encryption.refusal import not_an_envelope
from worker.errors import DecryptionError, KeyServiceUnavailable
from worker.model import ContextElement, DataKey, RetrieveRequest

VERSION = 1
NONCE_BYTES = 12
TAG_BYTES = 16
FINGERPRINT_BYTES = 8
MAX_LABEL_BYTES = 255
_FIXED = 34
_TAIL = NONCE_BYTES + TAG_BYTES
_LENGTHS = [bytes((n,)) for n in range(MAX_LABEL_BYTES + 1)]
NamedTexts = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class LeasedEnvelope:
    """
    A leased envelope taken apart.

    ::

        envelope   = header nonce(12) ciphertext(n) aead-tag(16)
        header     = 01 flags(1, 0) keyset(16) iv(16) len(1) tag len(1) descriptor fingerprint(8)
        key        = HKDF-SHA256(data key, no salt, "leased-v1", 32)
        aad        = header u32 n, n * (F(name) F(context text)), u32 m, m * (F(name) F(bind bytes))
        F(x)       = u32 length of x, x                            every u32 big-endian

    The cipher is AES-256-GCM-SIV. The plaintext is the field's own Avro binary, union index included.

    Args:
        keyset: the resolved keyset.
        iv: 16 bytes, the lease's own.
        tag: the key service's own, 0-255 bytes.
        descriptor: 1-255 bytes of UTF-8.
        fingerprint: CRC-64-AVRO of the field type's parsing canonical form, little-endian.
        nonce: 12 bytes, this value's own.
        ciphertext: with the AEAD's 16 bytes at its end.

    Source:
        tests/vectors/leased.json
    """

    keyset: UUID
    iv: bytes
    tag: bytes = field(repr=False)
    descriptor: str
    fingerprint: bytes
    nonce: bytes
    ciphertext: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> LeasedEnvelope:
        """Take an envelope apart; raises `DecryptionError` (`not_an_envelope`)."""
        end = header_end(data)
        if data[1] != 0:
            raise not_an_envelope("unknown flags")
        tag_end = _FIXED + 1 + data[_FIXED]
        try:
            descriptor = data[tag_end + 1 : end - FINGERPRINT_BYTES].decode()
        except UnicodeDecodeError:
            raise not_an_envelope("the descriptor is not UTF-8") from None
        return cls(
            keyset=UUID(bytes=data[2:18]),
            iv=data[18:34],
            tag=data[_FIXED + 1 : tag_end],
            descriptor=descriptor,
            fingerprint=data[end - FINGERPRINT_BYTES : end],
            nonce=data[end : end + NONCE_BYTES],
            ciphertext=data[end + NONCE_BYTES :],
        )

    @property
    def header(self) -> bytes:
        """Everything before the nonce."""
        return header(self.keyset, self.iv, self.tag, self.descriptor, self.fingerprint)

    def to_bytes(self) -> bytes:
        """The envelope as it stands in an Avro field."""
        return self.header + self.nonce + self.ciphertext

    def request(self, context: tuple[ContextElement, ...] = ()) -> RetrieveRequest:
        """What to ask the key service for."""
        return RetrieveRequest(self.keyset, self.iv, self.tag, self.descriptor, context)


def header_end(data: bytes) -> int:
    """Return where the nonce begins; raises `DecryptionError` for another version or an envelope cut short."""
    try:
        if data[0] != VERSION:
            raise not_an_envelope("unknown version")
        descriptor_at = _FIXED + 1 + data[_FIXED]
        descriptor_bytes = data[descriptor_at]
    except IndexError:
        raise not_an_envelope("cut short") from None
    end = descriptor_at + 1 + descriptor_bytes + FINGERPRINT_BYTES
    if descriptor_bytes == 0 or len(data) < end + _TAIL:
        raise not_an_envelope("cut short or without a descriptor")
    return end


def header(keyset: UUID, iv: bytes, tag: bytes, descriptor: str, fingerprint: bytes) -> bytes:
    """Everything of an envelope before the nonce, equal for all values of a lease and a field type."""
    front, back = _around(keyset, descriptor, fingerprint)
    if len(tag) > MAX_LABEL_BYTES or len(iv) != 16:
        raise ValueError("a leased envelope holds an iv of 16 bytes and at most 255 of tag")
    return front + iv + _LENGTHS[len(tag)] + tag + back


def _around(keyset: UUID, descriptor: str, fingerprint: bytes) -> tuple[bytes, bytes]:
    """Return what stands before the iv and after the tag, equal for all leases of a field."""
    label = descriptor.encode()
    if not 1 <= len(label) <= MAX_LABEL_BYTES or len(fingerprint) != FINGERPRINT_BYTES:
        raise ValueError("a leased envelope holds 1-255 bytes of descriptor and a fingerprint of 8")
    return b"\x01\x00" + keyset.bytes, _LENGTHS[len(label)] + label + fingerprint


def framer(names: Sequence[str]) -> Callable[[Sequence[bytes]], bytes]:
    """Return what frames values under these names: `u32 n, n * (F(name) F(value))`, unmistakable for another split."""
    pack = struct.Struct(">I").pack
    count = pack(len(names))
    labels = [pack(len(raw)) + raw for raw in (name.encode() for name in names)]
    if not labels:
        return lambda values: count
    if len(labels) == 1:
        only = count + labels[0]
        return lambda values: only + pack(len(values[0])) + values[0]

    def frame(values: Sequence[bytes]) -> bytes:
        return count + b"".join([label + pack(len(value)) + value for label, value in zip(labels, values, strict=True)])

    return frame


def framed_context(context: NamedTexts) -> bytes:
    """The context's part of the associated data."""
    return framer([name for name, _ in context])([text.encode() for _, text in context])


def cipher(key: DataKey) -> AESGCMSIV:
    """
    The lease's cipher, built once and kept on the key, so that it goes when the key goes.

    Raises:
        KeyServiceUnavailable: the key was dropped under our hands (rotation, expiry); the batch asks for another.
    """
    held = key.cipher
    if isinstance(held, AESGCMSIV):
        return held
    built = brief_cipher(key)
    derived, key.cipher = key.cipher, built
    if isinstance(derived, bytearray):
        derived[:] = bytes(32)
    return built


def brief_cipher(key: DataKey) -> AESGCMSIV:
    """As `cipher`, but only the 32 bytes that it is built from are kept: a cipher takes a hundred times as many."""
    held = key.cipher
    if isinstance(held, bytearray):
        return AESGCMSIV(held)
    derived = bytearray(32)
    try:
        HKDF(SHA256(), 32, None, b"leased-v1").derive_into(key.secret, derived)
    except RuntimeError:
        raise KeyServiceUnavailable("a lease was dropped while it was in use; ask again") from None
    key.cipher = derived
    return AESGCMSIV(derived)


class Sealer:
    """
    Seals values of one field, context after context, each value with a fresh random nonce.

    Args:
        fingerprint: of the field's type, 8 bytes.
        names: names of the context's texts.
        bind_names: names of what is bound to each value.
    """

    def __init__(self, fingerprint: bytes, names: Sequence[str] = (), bind_names: Sequence[str] = ()) -> None:
        self._fingerprint = fingerprint
        self._context, self._bound = framer(names), framer(bind_names)

    def seal(
        self,
        keys: Sequence[DataKey],
        contexts: Sequence[Sequence[str]],
        counts: Sequence[int],
        plaintexts: Sequence[bytes],
        binds: Sequence[Sequence[bytes]] | None = None,
    ) -> list[bytes]:
        """
        Seal values, context after context.

        Args:
            keys: m keys of leases, all of one field; neither kept nor wiped.
            contexts: m contexts, each the texts that its values share and its key was asked for with.
            counts: m numbers of values.
            plaintexts: n values in Avro binary, n the sum of `counts`.
            binds: n sequences of bytes in the order of `bind_names`; None where nothing is bound.

        Returns:
            n envelopes, in order.

        Raises:
            KeyServiceUnavailable: a key was dropped meanwhile.
        """
        out: list[bytes] = []
        put, cut = out.append, NONCE_BYTES
        nonces = os.urandom(cut * len(plaintexts))
        frame, frame_bound = self._context, self._bound
        unbound = frame_bound(()) if binds is None else b""
        last: DataKey | None = None
        front = back = b""
        at = 0
        for key, texts, count in zip(keys, contexts, counts, strict=True):
            if last is None or key.keyset is not last.keyset or key.descriptor is not last.descriptor:
                last = key
                front, back = _around(key.keyset, key.descriptor, self._fingerprint)
            head = front + key.iv + _LENGTHS[len(key.tag)] + key.tag + back
            shared = head + frame([text.encode() for text in texts]) + unbound
            encrypt = brief_cipher(key).encrypt
            for i in range(at, at + count):
                nonce = nonces[cut * i : cut * i + cut]
                aad = shared if binds is None else shared + frame_bound(binds[i])
                put(head + nonce + encrypt(nonce, plaintexts[i], aad))
            at += count
        return out


def seal(
    key: DataKey,
    fingerprint: bytes,
    plaintexts: Sequence[bytes],
    *,
    context: NamedTexts = (),
    bind_names: Sequence[str] = (),
    binds: Sequence[Sequence[bytes]] | None = None,
) -> list[bytes]:
    """Seal values of one field under one lease and one context; see `Sealer.seal`."""
    sealer = Sealer(fingerprint, [name for name, _ in context], bind_names)
    return sealer.seal([key], [[text for _, text in context]], [len(plaintexts)], plaintexts, binds)


def open(
    key: DataKey,
    envelope: LeasedEnvelope,
    *,
    context: NamedTexts = (),
    bind_names: Sequence[str] = (),
    bind: Sequence[bytes] = (),
) -> bytes:
    """Return one value's Avro binary; raises `DecryptionError` where anything was altered or moved."""
    aad = envelope.header + framed_context(context) + framer(bind_names)(bind)
    try:
        return cipher(key).decrypt(envelope.nonce, envelope.ciphertext, aad)
    except InvalidTag:
        raise does_not_open() from None


def does_not_open() -> DecryptionError:
    """The error of an envelope that its key refuses."""
    return DecryptionError(
        "the envelope does not open: altered, or its context or bound values are not those it was sealed with"
    )
