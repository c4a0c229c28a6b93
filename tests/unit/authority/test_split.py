"""What either half can and can't do, as it is."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.unit.authority.conftest import Party, party
from worker.authority import datakeys, material
from worker.authority.access import Caller
from worker.authority.dev import DevAuthority
from worker.authority.rights import Rights
from worker.authority.seal import Sealer, root_from_file
from worker.authority.store import Store
from worker.errors import KeyAccessDenied, KeyMaterialError
from worker.region import Region
from worker.zerokms.derive import ClientKey, check_material, derive, random_permutation


def _material(directory: Path, client: str, kept: dict[str, object]) -> bytes:
    """What the store and its root key alone give for a client and an envelope's public parts."""
    store = Store(
        directory / "authority.sqlite", Region("eu-central-1"), Sealer(root_from_file(directory / "root.key"))
    )
    try:
        row = store.state.clients[client]
        grant = datakeys.open_grant(store, client, store.state.keysets[row["default_keyset"]])
        tag = bytes(kept["tag"])  # type: ignore[call-overload]
        item = material.Item(base64.b64decode(str(kept["iv"])), str(kept["descriptor"]).encode(), b"", tag)
        return material.materials(grant.secrets, grant.share, [item], [tag])
    finally:
        store.close()


def test_two_clients_of_a_keyset_agree(dev: DevAuthority) -> None:
    """What one client's key was made for, the other's opens."""
    kept, key = party(dev).generate()

    assert party(dev, "_2").retrieve(kept) == key


def test_a_granted_keyset_agrees_and_stays_apart(own: DevAuthority) -> None:
    """Two clients agree on a second keyset, and its keys are not the first one's."""
    first, second = party(own), party(own, "_2")
    own.create_keyset("eu/other")
    own.grant(first.client_id, "eu/other")
    own.grant(second.client_id, "eu/other")

    kept, key = first.generate(keyset={"Name": "eu/other"})

    assert second.retrieve(kept, {"Name": "eu/other"}) == key
    with pytest.raises(KeyAccessDenied):
        second.retrieve(kept)


def test_generate_is_no_decryption_oracle(dev: DevAuthority) -> None:
    """Generating with a victim's iv, descriptor and policy does not give the victim's key."""
    policy = {"conditions": [{"claim": "sub", "value": "CS|nobody"}]}
    victim, attacker = party(dev), party(dev, "_2")
    kept, key = victim.generate(decryption_policy=policy)
    item = {k: kept[k] for k in ("iv", "descriptor", "decryption_policy")}

    answer = attacker.call("generate-data-key", {"client_id": attacker.client_id, "keys": [item]})["keys"][0]

    assert attacker.derive(kept["iv"], answer["key_material"]) != key


def test_a_policy_without_a_satisfied_condition_refuses(dev: DevAuthority) -> None:
    """A key whose policy names another subject is not retrieved, not even by its maker."""
    policy = {"conditions": [{"claim": "sub", "value": "CS|nobody"}]}
    kept, _ = party(dev).generate(decryption_policy=policy)

    with pytest.raises(KeyAccessDenied, match="lock requirements"):
        party(dev).retrieve(kept)


def test_a_policy_filled_from_the_token_opens_for_its_subject_alone(dev: DevAuthority) -> None:
    """A condition without a value is filled from the maker's token, and the other subject is refused."""
    kept, key = party(dev).generate(decryption_policy={"conditions": [{"claim": "sub"}]})

    assert party(dev).retrieve(kept) == key
    with pytest.raises(KeyAccessDenied, match="lock requirements"):
        party(dev, "_2").retrieve(kept)


def test_an_identity_context_opens_for_its_subject_alone(dev: DevAuthority) -> None:
    """A lock context on the subject refuses another subject."""
    kept, key = party(dev).generate(context=[{"IdentityClaim": "sub"}])

    assert party(dev).retrieve(kept) == key
    with pytest.raises(KeyAccessDenied, match="lock requirements"):
        party(dev, "_2").retrieve(kept)


@pytest.mark.parametrize("field", ["iv", "tag", "descriptor", "context"])
def test_whatever_is_bound_is_checked(dev: DevAuthority, field: str) -> None:
    """An altered iv, tag, descriptor or context is refused."""
    kept, _ = party(dev).generate(context=[{"Tag": "t"}])
    other = {"iv": base64.b64encode(bytes(16)).decode(), "tag": [*kept["tag"][:-1], kept["tag"][-1] ^ 1]}
    altered = {**kept, field: {**other, "descriptor": "a/c", "context": [{"Tag": "u"}]}[field]}

    with pytest.raises(KeyAccessDenied, match="lock requirements"):
        party(dev).retrieve(altered)


def test_the_store_alone_does_not_open(own: DevAuthority) -> None:
    """The whole store and root key give material, and material without a client key gives another key."""
    first = party(own)
    kept, key = first.generate()
    own.stop()

    sealed = _material(own.audit_path.parent, first.client_id, kept)
    identity = np.arange(16, dtype=np.uint8)
    guess = ClientKey(random_permutation(16), identity, random_permutation(16), random_permutation(33))

    assert bytes(derive(guess, base64.b64decode(kept["iv"]), sealed)) != key


def test_the_store_with_a_client_key_opens_everything(own: DevAuthority) -> None:
    """Both halves together open what was written before: no audit, no revocation. The docs say so."""
    first = party(own)
    kept, key = first.generate()
    own.stop()

    sealed = _material(own.audit_path.parent, first.client_id, kept)

    assert bytes(derive(first.key, base64.b64decode(kept["iv"]), sealed)) == key


def test_a_backup_with_a_deleted_client_s_key_opens_everything(own: DevAuthority, tmp_path: Path) -> None:
    """A copy of the store from before a deletion undoes the deletion for whoever kept the client key."""
    first = party(own)
    kept, key = first.generate()
    own.stop()
    shutil.copytree(own.audit_path.parent, tmp_path / "backup")
    with DevAuthority("eu-central-1", own.audit_path.parent) as again:
        again.delete_client(first.client_id)

    sealed = _material(tmp_path / "backup", first.client_id, kept)

    assert bytes(derive(first.key, base64.b64decode(kept["iv"]), sealed)) == key


def test_a_client_key_never_reaches_the_store(own: DevAuthority) -> None:
    """Neither the store's file nor the audit holds any part of a client key."""
    keys = [party(own).key, party(own, "_2").key]
    party(own).generate()
    own.stop()

    written = b"".join(p.read_bytes() for p in own.audit_path.parent.iterdir() if p.name != "credentials.env")

    for key in keys:
        assert key.to_cbor() not in written
        assert bytes(key.p2_to) not in written
        assert bytes(key.p3) not in written


def test_forged_material_is_refused_by_the_client(dev: DevAuthority) -> None:
    """All-equal blocks, which would leak the client key, are refused."""
    with pytest.raises(KeyMaterialError):
        check_material(party(dev).key, bytes(16), bytes(528))


def test_index_material_is_stable_and_equal_in_effect(dev: DevAuthority) -> None:
    """A keyset's index material is the same at every call, and all its clients get one index key from it."""

    def index(who: Party) -> bytes:
        body = {"client_id": who.client_id, "keyset_id": None}
        sealed = base64.b64decode(who.call("load-keyset", body)["partial_index_key"]["key_material"])
        assert sealed == base64.b64decode(who.call("load-dataset", body)["partial_index_key"]["key_material"])
        return bytes(derive(who.key, bytes(16), sealed))

    assert index(party(dev)) == index(party(dev, "_2"))


def test_material_is_cmac_masked_as_the_protocol_says() -> None:
    """The batched masks equal AES-CMAC by the library."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    ivs = [bytes(range(16)), *(os.urandom(16) for _ in range(20))]
    expected = b""
    for iv in ivs:
        for i in range(32):
            mac = CMAC(AES(iv))
            mac.update(i.to_bytes(8, "big"))
            expected += mac.finalize()

    assert material._pads(b"".join(ivs)).tobytes() == expected


def test_no_token_means_no_caller() -> None:
    """A caller without a scope is refused by name."""
    caller = Caller("W" * 16, "CS|x", Rights(frozenset()), None, {})

    with pytest.raises(Exception, match="data_key:generate"):
        caller.require("data_key:generate")
