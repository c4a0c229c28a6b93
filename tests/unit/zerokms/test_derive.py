"""The derivation: known answers in both twins, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import ConfigError, KeyMaterialError
from worker.zerokms import derive as d
from worker.zerokms.scalar import derive_scalar

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "zerokms.json").read_text())
ALGEBRA = VECTORS["key_algebra"]


def pads(iv: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    out = bytearray()
    for i in range(32):
        mac = CMAC(algorithms.AES(iv))
        mac.update(i.to_bytes(8, "big"))
        out += mac.finalize()
    return np.frombuffer(bytes(out), dtype=np.uint8).reshape(1, 512)


@pytest.mark.parametrize("case", ALGEBRA)
def test_derives_the_known_key_in_both_twins(case: dict[str, str]) -> None:
    """Both twins arrive at the known data key."""
    key = d.ClientKey.from_cbor(bytes.fromhex(case["client_key_cbor"]))
    iv, material = bytes.fromhex(case["iv"]), bytes.fromhex(case["key_material"])

    assert d.reencrypt(key, iv, material).tobytes().hex() == case["reencrypted"]
    assert bytes(d.derive(key, iv, material)).hex() == case["data_key"]
    assert derive_scalar(key, iv, material).hex() == case["data_key"]


@pytest.mark.parametrize("case", ALGEBRA)
def test_seals_the_known_material(case: dict[str, str]) -> None:
    """The authority's share gives the known material."""
    share = d.Permutations.from_cbor(bytes.fromhex(case["authority_cbor"]))
    iv = bytes.fromhex(case["iv"])
    message = np.frombuffer(bytes.fromhex(case["message512"]), dtype=np.uint8).reshape(1, 512)

    assert d.seal_messages(share, iv, message, pads(iv)).tobytes().hex() == case["key_material"]


@pytest.mark.parametrize("case", ALGEBRA)
def test_relates_share_and_client_key_to_the_domain(case: dict[str, str]) -> None:
    """ "A then C" is D, and the serialised forms are stable."""
    a = d.Permutations.from_cbor(bytes.fromhex(case["authority_cbor"]))
    c = d.ClientKey.parse(case["client_key_hex_v1"])
    domain = d.Permutations.from_cbor(bytes.fromhex(case["domain_cbor"]))

    assert d.then(a.p1, c.p1).tolist() == domain.p1.tolist()
    assert d.then(a.p3, c.p3).tolist() == domain.p3.tolist()
    assert c.p2_from.tolist() == a.p2.tolist()
    assert c.p2_to.tolist() == domain.p2.tolist()
    assert c.to_cbor().hex() == case["client_key_cbor"]
    assert a.to_cbor().hex() == case["authority_cbor"]


@pytest.mark.parametrize("case", ALGEBRA)
def test_derives_the_known_index_key(case: dict[str, str]) -> None:
    """Index material under an iv of zeros gives the known index key and is accepted."""
    key = d.ClientKey.from_cbor(bytes.fromhex(case["client_key_cbor"]))
    material = bytes.fromhex(case["index_key_material_iv0"])

    d.check_material(key, bytes(16), material)

    assert d.index_key(key, material).hex() == case["index_key"]


def test_derives_the_artificial_index_key_but_refuses_its_material() -> None:
    """The bare derivation answers for artificial material; where an answer is accepted it is refused."""
    kat = VECTORS["index_key_kat"]
    key = d.ClientKey.from_cbor(bytes.fromhex(kat["client_key_cbor"]))
    material = bytes(i % 251 for i in range(528))

    assert d.index_key(key, material).hex() == kat["index_key"]
    with pytest.raises(KeyMaterialError):
        d.check_material(key, bytes(16), material)


@pytest.mark.parametrize("case", VECTORS["grants"])
def test_a_granted_share_agrees_only_where_domains_share_p2(case: dict[str, Any]) -> None:
    """A grant computed from an existing share gives the known domain material."""
    a1, d1, d2 = (d.Permutations.from_cbor(bytes.fromhex(case[name])) for name in ("a1", "d1", "d2"))
    key = d.ClientKey.from_cbor(bytes.fromhex(case["client"]))
    iv = bytes.fromhex(case["iv"])
    message = np.frombuffer(bytes.fromhex(case["message512"]), dtype=np.uint8).reshape(1, 512)
    p1 = d.then(d2.p1, d.then(d.invert(d1.p1), a1.p1))
    p3 = d.then(d2.p3, d.then(d.invert(d1.p3), a1.p3))
    granted = d.Permutations(p1, a1.p2, p3)

    material = d.seal_messages(granted, iv, message, pads(iv)).tobytes()
    via_grant = d.reencrypt(key, iv, material).tobytes()
    of_domain = d.seal_messages(d2, iv, message, pads(iv)).tobytes()

    assert granted.to_cbor().hex() == case["a2"]
    assert via_grant.hex() == case["via_grant"]
    assert (via_grant == of_domain) is case["granted_client_agrees_with_domain"]


@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_twins_agree(n: int, rng: Any) -> None:
    """Batch and scalar derivation agree on any material."""
    key = d.ClientKey(*(d.random_permutation(size) for size in (16, 16, 16, 33)))
    ivs, materials = rng.randbytes(16 * n), rng.randbytes(528 * n)

    keys = d.derive(key, ivs, materials)

    for i in range(n):
        scalar = derive_scalar(key, ivs[16 * i : 16 * i + 16], materials[528 * i : 528 * i + 528])
        assert bytes(keys[32 * i : 32 * i + 32]) == scalar


def test_refuses_material_of_equal_blocks() -> None:
    """Forged material whose unchained blocks are all equal is refused, among honest material too."""
    key = d.ClientKey(*(d.random_permutation(size) for size in (16, 16, 16, 33)))
    block, previous, forged = bytes(range(16)), bytes(16), b""
    for _ in range(33):
        previous = bytes(b ^ previous[p] for b, p in zip(block, key.p2_from, strict=True))
        forged += previous
    honest = np.random.default_rng(1).bytes(528)

    d.check_material(key, bytes(16), honest)

    with pytest.raises(KeyMaterialError):
        d.check_material(key, bytes(32), honest + forged)


@pytest.mark.parametrize(("ivs", "materials"), [(16, 527), (16, 529), (0, 528), (32, 528), (15, 528)])
def test_refuses_lengths_that_are_no_whole_items(ivs: int, materials: int) -> None:
    """Material and ivs must be whole items of equal number."""
    key = d.ClientKey(*(d.random_permutation(size) for size in (16, 16, 16, 33)))

    with pytest.raises(KeyMaterialError):
        d.derive(key, bytes(ivs), bytes(materials))
    with pytest.raises(KeyMaterialError):
        derive_scalar(key, bytes(ivs), bytes(materials))


@pytest.mark.parametrize("text", ["", "zz", "ab" * 168, "a4" * 168, "AAAA", "a" * 335])
def test_refuses_a_client_key_of_another_form(text: str) -> None:
    """A malformed client key is a configuration error that does not show the text."""
    with pytest.raises(ConfigError) as caught:
        d.ClientKey.parse(text)

    assert text == "" or text not in str(caught.value)


def test_keys_show_nothing_of_themselves() -> None:
    """Neither half shows its permutations in a repr."""
    assert repr(d.Permutations.random()) == "Permutations(...)"
    assert repr(d.ClientKey(*(d.random_permutation(n) for n in (16, 16, 16, 33)))) == "ClientKey(...)"
