"""Keys that stay in native memory: runs of them, and the answers to envelopes' requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import numpy as np
import pytest

from worker.authority.dev import DevAuthority
from worker.encryption import record
from worker.encryption.handles import seal_singles
from worker.model import Audit, DataKey, KeyRefused, KeySpec
from worker.native import IS_LOADED, extension
from worker.native.keys import Answer, KeyRun, joined, request_ids, wipe
from worker.native.requests import NativeRequests
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.factory import client_from_environment
from worker.zerokms.keys.held import Held
from worker.zerokms.keys.passes import rows
from worker.zerokms.keys.pool_passes import POOL
from worker.zerokms.options import ClientOptions

pytestmark = pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
SPECS = [KeySpec(None, "acme.Customer/email")] * 5 + [KeySpec(None, "acme.Customer/name")] * 4


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZeroKMSClient]:
    """A client of a real authority that asks for four keys at once."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("authority")) as authority:
        options = ClientOptions(keys_per_request=4)
        with client_from_environment(authority.env, allow_hosts=("127.0.0.1",), options=options) as made:
            yield made


@pytest.fixture
def run(client: ZeroKMSClient) -> KeyRun:
    """Nine keys of three requests."""
    keys = client.generate(SPECS, Audit("test"))
    assert isinstance(keys, KeyRun)
    return keys


def test_a_run_is_a_sequence_of_keys(run: KeyRun) -> None:
    """Places, slices and joins give the same keys as going through it."""
    ivs = [key.iv for key in run]

    assert len(set(ivs)) == len(run) == 9
    assert [run[i].iv for i in range(-9, 9)] == ivs + ivs
    assert [key.iv for key in run[3:8]] == ivs[3:8]
    assert [key.iv for key in run[-2:]] == ivs[-2:]
    assert [key.iv for key in joined([run[5:], run[:5]])] == ivs[5:] + ivs[:5]
    assert [key.descriptor for key in run] == [spec.descriptor for spec in SPECS]
    assert len(request_ids(run)) == 3
    assert not run[4:4]
    with pytest.raises(IndexError):
        run[9]
    with pytest.raises(ValueError, match="step"):
        run[::2]


def test_what_is_drawn_from_a_cache_is_a_run(run: KeyRun) -> None:
    """Stretches of several answers, out of their order, without an object for each."""
    ivs = [key.iv for key in run]
    held = Held()
    held.bind(rows(2, POOL))
    held.put(np.array([1, 0]), np.array([4, 5]), run, 1.0)

    drawn = held.take(np.array([0, 1]), np.array([5, 3]))

    assert isinstance(drawn, KeyRun)
    assert drawn.first.iv == ivs[4]
    assert request_ids(drawn) == request_ids(run)
    assert [key.iv for key in drawn] == ivs[4:] + ivs[:3]
    assert [key.iv for key in drawn[4:6]] == [ivs[8], ivs[0]]
    wipe(drawn)
    assert [i for i, key in enumerate(run) if is_there(key)] == [3]


def test_what_a_vault_refuses_leaves_nothing_there(run: KeyRun) -> None:
    """Of keys that come together all are taken or none, and the numbers of none are lost."""
    whole: list[DataKey | Answer] = list(run)
    vault = extension.Vault()
    places = np.full(len(whole) + 1, -1)
    odd = DataKey(
        memoryview(bytearray(32)), iv=bytes(16), tag=bytes(256), keyset=run[0].keyset, descriptor="users/email"
    )

    with pytest.raises(ValueError, match="tag"):
        vault.put([*whole, odd], places)

    numbers = np.frombuffer(vault.put(whole, places[1:]), np.int64)
    assert sorted(numbers.tolist()) == list(range(len(whole)))
    for number in numbers.tolist():
        vault.free(number)
    with pytest.raises(IndexError, match="no such key"):
        vault.free(0)


def is_there(key: DataKey) -> bool:
    """Whether a key has not been wiped."""
    try:
        return bool(key.secret)
    except RuntimeError:
        return False


def test_each_key_seals_once_and_is_asked_for_again(run: KeyRun, client: ZeroKMSClient) -> None:
    """What is sealed under a run opens under the keys of its envelopes' requests, and the run's own are used up."""
    values = [b"\x01\x08value %d" % n for n in range(9)]

    sealed = seal_singles(run, values)

    asked = extension.Envelopes(sealed, None, [], False)
    answers = client.retrieve(NativeRequests(asked.requests, [[()]]), Audit("test", purpose="decrypt"))
    opened = [record.from_msgpack(envelope) for envelope in sealed]
    found = [
        record.open_record(key, each) for key, each in zip(answers, opened, strict=True) if isinstance(key, DataKey)
    ]
    assert found == values
    with pytest.raises(RuntimeError, match="wiped"):
        run[3].secret[:]
    with pytest.raises(RuntimeError, match="wiped"):
        seal_singles(run, values)


def test_a_part_of_a_run_is_wiped_alone(run: KeyRun) -> None:
    """Its neighbours of the same answer stay, and a copy that was looked at goes with its key."""
    looked_at = run[1]
    copy = looked_at.secret
    wipe(run[2:])

    looked_at.wipe()

    assert bytes(copy) == bytes(32)
    assert looked_at.is_wiped
    assert any(run[0].secret)
    for at in (1, 2, 8):
        with pytest.raises(RuntimeError):
            run[at].secret[:]


def test_a_refusal_costs_its_own_request(run: KeyRun, client: ZeroKMSClient) -> None:
    """A key that the authority does not give has a reason in its place; the others are there."""
    sealed = seal_singles(run, [b"\x01\x08x"] * 9)
    parsed = record.from_msgpack(sealed[4])
    sealed[4] = record.EncryptedRecord(
        parsed.iv, parsed.ciphertext, os.urandom(len(parsed.tag)), parsed.descriptor, parsed.keyset
    ).to_msgpack()
    asked = extension.Envelopes(sealed, None, [], False)
    requests = NativeRequests(asked.requests, [[()]])

    answers = client.retrieve(requests, Audit("test", purpose="decrypt"))

    assert [isinstance(answer, KeyRefused) for answer in answers] == [n == 4 for n in range(9)]
    values, faults = asked.open(answers.sources, b"\0" * 4, b"\0" * 4, None)  # type: ignore[attr-defined]
    assert faults == [(4, "key", 4)]
    assert values == [None if n == 4 else "x" for n in range(9)]


def test_requests_read_as_envelopes_carry_them(run: KeyRun) -> None:
    """Each request is the one that the readable form takes from its envelope."""
    sealed = seal_singles(run, [b"\x01\x08x"] * 9)

    requests = NativeRequests(extension.Envelopes(sealed, None, [], False).requests, [[()]])

    assert list(requests) == [record.from_msgpack(envelope).request() for envelope in sealed]
    assert requests.keysets == [requests[0].keyset]
    moved = record.EncryptedRecord(bytes(16), bytes(16), b"", "a/b", uuid4()).to_msgpack()
    assert NativeRequests(extension.Envelopes([*sealed, moved], None, [], False).requests, [[()]]).keysets == []
