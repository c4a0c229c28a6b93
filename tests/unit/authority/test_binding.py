"""One client key and an answer for another client give that client's key; so a token has answers for one client."""

from __future__ import annotations

import base64
import os
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from tests.unit.authority.conftest import Party, access_key, existing, party
from worker.authority import datakeys, material
from worker.authority.dev import DevAuthority
from worker.authority.enrol import accept, propose
from worker.authority.remote import Remote
from worker.errors import KeyAccessDenied
from worker.zerokms.derive import ClientKey

IV = bytes(range(16))


def others_key(own: ClientKey, for_own: bytes, for_other: bytes, iv: bytes = IV) -> ClientKey:
    """
    Compute another client's key from one's own and both clients' answers that hide the same value.

    Under the own key the answer's blocks are known but for order; a column of the other answer, unchained with the
    right partner, has the same bytes as a column of these, and with the columns known the rows match too.
    """
    mine = np.frombuffer(iv + for_own, dtype=np.uint8).reshape(-1, 16)
    theirs = np.frombuffer(iv + for_other, dtype=np.uint8).reshape(-1, 16)
    known = (mine[1:] ^ mine[:-1][:, own.p2_from])[:, own.p1][own.p3]
    columns = {bytes(np.sort(known[:, i])): i for i in range(16)}
    p1, p2 = np.zeros(16, dtype=np.uint8), np.zeros(16, dtype=np.uint8)
    for column in range(16):
        for partner in range(16):
            found = columns.get(bytes(np.sort(theirs[1:, column] ^ theirs[:-1, partner])))
            if found is not None:
                p1[found], p2[column] = column, partner
    rows = {bytes(row): at for at, row in enumerate((theirs[1:] ^ theirs[:-1][:, p2])[:, p1])}
    return ClientKey(p1, p2, own.p2_to, np.array([rows[bytes(row)] for row in known], dtype=np.uint8))


def answer(authority: DevAuthority, client: str, *, index: bool = False) -> bytes:
    """What the authority computes for a client, taken from within it: the same value for every client."""
    store = authority.authority.store
    row = store.state.clients[client]
    grant = datakeys.open_grant(store, client, store.state.keysets[row["default_keyset"]])
    if index:
        return material.index_material(grant.secrets, grant.share)
    item = material.Item(IV, b"a/b", b"")
    return material.materials(grant.secrets, grant.share, [item], [bytes(32)])


@pytest.mark.parametrize("index", [False, True], ids=["data_key", "index_key"])
def test_the_attack_works_with_both_answers(dev: DevAuthority, index: bool) -> None:
    """The control: two answers that hide the same value, and one key, are the other key. No measure but binding."""
    first, second = party(dev), party(dev, "_2")
    iv = bytes(16) if index else IV

    found = others_key(
        first.key, answer(dev, first.client_id, index=index), answer(dev, second.client_id, index=index), iv
    )

    assert found.to_cbor() == second.key.to_cbor()


def _asks(client: str) -> dict[str, dict[str, Any]]:
    item = {"iv": base64.b64encode(IV).decode(), "descriptor": "a/b", "context": []}
    again = {**item, "tag": [0] * 32}
    return {
        "generate-data-key": {"client_id": client, "keys": [item]},
        "retrieve-data-key": {"client_id": client, "keys": [again]},
        "retrieve-data-key-fallible": {"client_id": client, "keys": [again]},
        "load-keyset": {"client_id": client},
        "load-dataset": {"client_id": client},
    }


@pytest.mark.parametrize("role", ["admin", "control", "member", "writer", "auditor", "monitor"])
def test_no_token_has_an_answer_for_a_second_client(dev: DevAuthority, role: str) -> None:
    """Whatever its role, an access key has answers for its own client alone, and without a client for none."""
    first, second = dev.env["CS_CLIENT_ID"], dev.env["CS_CLIENT_ID_2"]

    for bound, clients in ((first, [second]), (second, [first]), (None, [first, second])):
        call = Remote(dev.url, access_key(dev, bound, role))
        for client in clients:
            for endpoint, body in _asks(client).items():
                with pytest.raises(KeyAccessDenied, match="403"):
                    call(endpoint, body)


def test_a_deleted_client_s_key_gets_no_answer_through_another(own: DevAuthority) -> None:
    """After the second client's deletion its holder has no answers, its own token none for anybody."""
    first, second = party(own), party(own, "_2")
    own.delete_client(second.client_id)

    for client in (first.client_id, second.client_id):
        for endpoint, body in _asks(client).items():
            with pytest.raises(KeyAccessDenied, match=r"40[34]"):
                second.call(endpoint, body)


def test_an_access_key_is_never_bound_anew(own: DevAuthority) -> None:
    """A token that has derived for one client can't be made to derive for another, by nobody."""
    for client in (own.env["CS_CLIENT_ID"], own.env["CS_CLIENT_ID_2"]):
        with pytest.raises(KeyAccessDenied, match="409"):
            own.admin("api/access-keys/bind", {"keyName": "first", "client": client})


def test_an_enrolment_answers_its_own_client_alone(own: DevAuthority) -> None:
    """The canary of an enrolment comes to a caller bound to the new client: the old client's token gets none."""
    proposal = propose(own.admin, name="third", region="eu-central-1", via=existing(own))
    own.admin("approve-client", {"client_id": str(proposal.client_id)})

    for call in (own.admin, party(own).call, Remote(own.url, access_key(own, None))):
        with pytest.raises(KeyAccessDenied, match="bound to"):
            accept(call, proposal)
    key = accept(Remote(own.url, access_key(own, str(proposal.client_id))), proposal)
    third = Party(own.url, access_key(own, str(proposal.client_id)), str(proposal.client_id), key.to_hex())

    kept, data_key = party(own).generate()
    assert third.retrieve(kept) == data_key


@pytest.mark.parametrize("change", [{"descriptor": "a/b"}, {"tag": "00" * 32}, {"iv": "AAAA"}, {"tag": "x"}])
def test_an_enrolment_derives_the_canary_alone(own: DevAuthority, change: dict[str, str]) -> None:
    """Neither another descriptor, nor a tag that this authority did not make, gets as far as a proposal."""

    def altered(endpoint: str, body: dict[str, Any]) -> Any:
        return own.admin(endpoint, {**body, "canary": {**body["canary"], **change}})

    with pytest.raises(KeyAccessDenied, match=r"40[03]"):
        propose(altered, name="third", region="eu-central-1", via=existing(own))


def test_an_enrolment_in_a_disabled_keyset_is_refused(own: DevAuthority) -> None:
    """The canary is a key of the keyset like any other: a disabled one gives none."""
    proposal = propose(own.admin, name="third", region="eu-central-1", via=existing(own))
    own.admin("approve-client", {"client_id": str(proposal.client_id)})
    call = Remote(own.url, access_key(own, str(proposal.client_id)))
    own.disable_keyset("default")

    with pytest.raises(KeyAccessDenied, match="disabled"):
        accept(call, proposal)


def test_a_client_with_a_wrong_key_is_not_activated(own: DevAuthority) -> None:
    """A new client that can't open the canary stays inactive."""
    via = existing(own)
    proposal = propose(own.admin, name="third", region="eu-central-1", via=via)
    own.admin("approve-client", {"client_id": str(proposal.client_id)})
    wrong = type(proposal)(proposal.client_id, proposal.secret, via.key)

    with pytest.raises(KeyAccessDenied, match="canary"):
        accept(Remote(own.url, access_key(own, str(proposal.client_id))), wrong)


def test_an_unapproved_client_is_not_enrolled(own: DevAuthority) -> None:
    """Without an admin's approval the enrolment does not go on."""
    proposal = propose(own.admin, name="third", region="eu-central-1", via=existing(own))

    with pytest.raises(KeyAccessDenied, match="409"):
        accept(Remote(own.url, access_key(own, str(proposal.client_id))), proposal)


def test_a_bound_caller_proposes_through_itself_alone(own: DevAuthority) -> None:
    """A client's own admin key enrols through that client, not through another."""
    call = Remote(own.url, access_key(own, own.env["CS_CLIENT_ID_2"], "admin"))

    with pytest.raises(KeyAccessDenied, match="another client"):
        propose(call, name="third", region="eu-central-1", via=existing(own))


def test_unknown_ids_of_a_bound_caller_are_refused_alike(dev: DevAuthority) -> None:
    """Whether a client exists is not told to who may not ask for it."""
    told = set()
    for client in (dev.env["CS_CLIENT_ID_2"], str(UUID(bytes=os.urandom(16)))):
        with pytest.raises(KeyAccessDenied) as caught:
            party(dev).call("load-keyset", {"client_id": client})
        told.add(str(caught.value))

    assert len(told) == 1
