"""docs/readers.md: its vectors open by the steps that it describes, without this project's code."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import msgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PAGE = (Path(__file__).parents[3] / "docs" / "readers.md").read_text()


def vector(title: str) -> dict[str, str]:
    """The names and values of the indented lines under a heading."""
    part = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^    ([a-z ]+?) {2,}(.+)$", part, re.MULTILINE))


def framed(pairs: list[tuple[str, bytes]]) -> bytes:
    """`u32 n`, then each name and value behind its length."""
    out = struct.pack(">I", len(pairs))
    for name, value in pairs:
        out += struct.pack(">I", len(name.encode())) + name.encode() + struct.pack(">I", len(value)) + value
    return out


def pairs(text: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (each.partition(" = ") for each in text.split(", "))]


def test_the_leased_vector_opens() -> None:
    """Header, context and bound values, as the page says."""
    given = vector("A `leased` envelope")
    envelope = bytes.fromhex(given["envelope"])
    label_at = 35 + envelope[34]
    end = label_at + 1 + envelope[label_at] + 8
    context = [(name, value.encode()) for name, value in pairs(given["context"])]
    bound = [
        (name, bytes.fromhex(value))
        for name, value in pairs(given["bound"].removesuffix(" (hex)").replace(" (hex)", ""))
    ]
    key = HKDF(SHA256(), 32, None, b"leased-v1").derive(bytes.fromhex(given["data key"]))

    opened = AESGCMSIV(key).decrypt(
        envelope[end : end + 12], envelope[end + 12 :], envelope[:end] + framed(context) + framed(bound)
    )

    assert opened.hex() == given["plaintext"]


def test_the_record_vector_opens() -> None:
    """Five items, the descriptor and the tag in the associated data."""
    given = vector("A `record` envelope")
    iv, ciphertext, tag, descriptor, _ = msgpack.unpackb(bytes.fromhex(given["envelope"]))

    opened = AESGCMSIV(bytes.fromhex(given["data key"])).decrypt(iv[:12], ciphertext, descriptor.encode() + tag)

    assert opened.hex() == given["plaintext"]
