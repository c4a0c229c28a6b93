"""First clients, and clients whose key the authority makes: only by the operator's choice, and with what that costs."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.authority.conftest import Party, access_key, party
from worker.authority import datakeys, material
from worker.authority.dev import DevAuthority
from worker.authority.enrol import accept, propose
from worker.authority.management import Narrowing, make_access_key, new_workspace
from worker.authority.remote import Remote
from worker.authority.seal import Sealer, root_from_file
from worker.authority.server import Authority, AuthorityOptions
from worker.authority.store import Store
from worker.errors import ConfigError, KeyAccessDenied
from worker.region import Region
from worker.zerokms.derive import ClientKey, Permutations, derive, invert, then

REGION = Region("eu-central-1")


@pytest.fixture
def chosen(tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority whose operator chose to let it make client keys."""
    with DevAuthority("eu-central-1", tmp_path / "chosen", escrow=True) as running:
        yield running


def _made(authority: DevAuthority, **body: Any) -> Party:
    made = authority.admin("create-client", body)
    return Party(authority.url, access_key(authority, made["id"]), made["id"], made["client_key"])


def test_it_is_off_by_default(own: DevAuthority) -> None:
    """Without the operator's choice neither endpoint makes a client key, and no keyset is left behind."""
    with pytest.raises(KeyAccessDenied, match=r"403 .*enrol"):
        own.admin("create-client", {"name": "x"})
    with pytest.raises(KeyAccessDenied, match=r"403 .*enrol"):
        own.admin("create-keyset", {"name": "k", "description": "k", "client": {"name": "x"}})

    assert "k" not in {k["name"] for k in own.admin("list-keysets", {})}
    assert not (own.audit_path.parent / "escrow.key").exists()


def test_made_and_enrolled_clients_agree(chosen: DevAuthority) -> None:
    """A client made by the authority, another, and one enrolled through the first share the workspace's data keys."""
    kept, key = party(chosen).generate()

    assert _made(chosen, name="third").retrieve(kept) == key
    assert party(chosen, "_2").retrieve(kept) == key


def test_a_client_made_beside_a_keyset_has_that_keyset_alone(chosen: DevAuthority) -> None:
    """The client of `create-keyset` works in the new keyset by default, agrees with a grant, and has no other."""
    body = {"name": "apart", "description": "x", "client": {"client_type": "device", "name": "beside"}}
    made = chosen.admin("create-keyset", body)
    bound = access_key(chosen, made["client"]["id"])
    beside = Party(chosen.url, bound, made["client"]["id"], made["client"]["client_key"])
    kept, key = beside.generate()
    chosen.grant(party(chosen).client_id, "apart")

    assert party(chosen).retrieve(kept, {"Name": "apart"}) == key
    with pytest.raises(KeyAccessDenied, match="404"):
        beside.generate(keyset={"Name": "default"})


def test_a_bound_access_key_makes_no_client(chosen: DevAuthority) -> None:
    """Making a client would step out of the binding."""
    bound = access_key(chosen, chosen.env["CS_CLIENT_ID"], "admin")

    with pytest.raises(KeyAccessDenied, match="bound"):
        Remote(chosen.url, bound)("create-client", {"name": "x"})
    with pytest.raises(KeyAccessDenied, match="dataset:grant"):
        party(chosen).call("create-client", {"name": "x"})


def test_a_workspace_whose_keys_were_born_split_stays_so(own: DevAuthority) -> None:
    """Choosing it later does not reach a workspace with enrolled clients: nobody here knows their common half."""
    own.stop()

    with DevAuthority("eu-central-1", own.audit_path.parent, escrow=True) as later:
        with pytest.raises(KeyAccessDenied, match="409"):
            later.admin("create-client", {"name": "x"})
        kept, key = party(later).generate()
        assert party(later, "_2").retrieve(kept) == key


def test_the_choice_taken_back_refuses_and_keeps_clients(chosen: DevAuthority) -> None:
    """Started without the choice again, the authority makes no more clients; those it made go on."""
    kept, key = party(chosen).generate()
    chosen.stop()

    with DevAuthority("eu-central-1", chosen.audit_path.parent) as without:
        assert party(without).retrieve(kept) == key
        with pytest.raises(KeyAccessDenied, match="403"):
            without.admin("create-client", {"name": "x"})


def test_the_escrow_key_is_a_key_of_its_own(chosen: DevAuthority) -> None:
    """The root key is refused in its place, and another key than the store's is refused at the start."""
    directory = chosen.audit_path.parent
    chosen.stop()
    root = root_from_file(directory / "root.key")

    with pytest.raises(ConfigError, match="apart"):
        Authority(REGION, directory, root, chosen.url, AuthorityOptions(escrow=root))
    with pytest.raises(ConfigError, match="escrow"):
        Authority(REGION, directory, root, chosen.url, AuthorityOptions(escrow=bytes(32)))


def test_store_root_and_escrow_key_open_everything(chosen: DevAuthority) -> None:
    """In this mode the authority alone can open what was written, with no client key. The docs say so."""
    first = party(chosen)
    kept, key = first.generate()
    directory, iv = chosen.audit_path.parent, base64.b64decode(kept["iv"])
    chosen.stop()

    store = Store(directory / "authority.sqlite", REGION, Sealer(root_from_file(directory / "root.key")))
    try:
        (workspace,) = store.state.workspaces.values()
        with pytest.raises(ConfigError):
            store.sealer.open(workspace["escrow"], what=f"escrow/{workspace['id']}")
        escrow = Sealer(root_from_file(directory / "escrow.key"))
        whole = Permutations.from_cbor(escrow.open(workspace["escrow"], what=f"escrow/{workspace['id']}"))
        grant = datakeys.open_grant(
            store, first.client_id, store.state.keysets[store.state.clients[first.client_id]["default_keyset"]]
        )
        tag = bytes(kept["tag"])
        item = material.Item(iv, kept["descriptor"].encode(), b"", tag)
        sealed = material.materials(grant.secrets, grant.share, [item], [tag])
        root = Permutations.from_cbor(store.sealer.open(grant.keyset["root_share"], what=f"root/{grant.keyset['id']}"))
    finally:
        store.close()
    relation = then(invert(root.p1), grant.share.p1), then(invert(root.p3), grant.share.p3)
    computed = ClientKey(
        then(invert(relation[0]), whole.p1), grant.share.p2, whole.p2, then(invert(relation[1]), whole.p3)
    )

    assert bytes(derive(computed, iv, sealed)) == key


def test_a_workspace_has_one_first_client(own: DevAuthority) -> None:
    """Of two first clients proposed at once the second is refused: their keys would have nothing in common."""
    workspace = new_workspace(own.authority.store, "fresh")
    call = Remote(own.url, make_access_key(own.authority.store, workspace, "admin", "admin"))
    proposals = [propose(call, name=name, region="eu-central-1") for name in ("one", "two")]
    for proposal in proposals:
        call("approve-client", {"client_id": str(proposal.client_id)})
    own_calls = [
        Remote(
            own.url, make_access_key(own.authority.store, workspace, name, "member", Narrowing(client=str(p.client_id)))
        )
        for name, p in zip(("one", "two"), proposals, strict=True)
    ]
    accept(own_calls[0], proposals[0])

    with pytest.raises(KeyAccessDenied, match="409"):
        accept(own_calls[1], proposals[1])

    states = {c["name"]: c["state"] for c in call("list-clients", {})}
    assert states == {"one": "active", "two": "masked"}
