"""Keys kept between calls: their bounds, and their end."""

from __future__ import annotations

import json

import pytest

from tests.fakes.keyservice import Clock
from tests.unit.sdk.services import Recording
from worker import CacheOptions, Encryption, output_schema
from worker.errors import KeyAccessDenied
from worker.model import Format, KeySpec, RetrieveRequest
from worker.native import IS_LOADED
from worker.sdk.kept import KeptKeys
from worker.sdk.scope import Scope
from worker.sdk.texts import record_texts

FIELD = "acme.crm.Customer/email"
SCOPE = Scope("decrypt")
SPEC = KeySpec(None, FIELD)


def test_keys_are_kept_and_can_be_not() -> None:
    """By default a lease serves the calls to come, and an opened key those that read again; `cache=None` asks anew."""
    for cache, asked in ((CacheOptions(), 2), (None, 20)):
        service = Recording()
        with Encryption.over(service, cache=cache) as encryption:
            envelopes = [encryption.encrypt(f"v{i}", field=FIELD, format="leased") for i in range(10)]
            assert [encryption.decrypt(envelope) for envelope in envelopes] == [f"v{i}" for i in range(10)]
        assert len(service.asked) == asked


@pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
@pytest.mark.parametrize(("format_", "again"), [("leased", 0), ("record", 1)])
def test_what_is_read_once_keeps_leases_alone(format_: Format, again: int) -> None:
    """Keys of single values, which a topic that is read through never asks for again, take no place among them."""
    service = Recording()
    fields = [{"name": "email", "type": "string", "encrypted": {"format": format_}}]
    schema = json.dumps({"type": "record", "name": "acme.crm.Customer", "fields": fields})
    with Encryption.over(service, window_s=0) as encryption:
        datums = encryption.encrypt_records([{"email": "ann@x"}, {"email": "bob@x"}], schema=schema)
        for _ in range(2):
            reading = encryption.reading(None, once=True)
            found = record_texts(datums, [None, None], 0, output_schema(schema), reading)
            assert not found.errors

    assert [asked.call for asked in service.asked].count("retrieve") == 1 + again


def test_no_key_outlives_its_age() -> None:
    """A key that is as old as the bound is not found; one that is younger is."""
    clock, service = Clock(), Recording()
    kept = KeptKeys(CacheOptions(max_age_s=60), clock=clock)
    (key,) = service.generate([SPEC], SCOPE.audit)
    request = RetrieveRequest(key.keyset, key.iv, key.tag, key.descriptor)
    kept.keep(SCOPE, {request: key}, clock.now)
    kept.keep_lease(SCOPE, SPEC, key, 1, clock.now)

    clock.now += 59.9
    assert kept.find(SCOPE, [request]) == {request: key}
    assert kept.lease(SCOPE, SPEC, 1) is not None
    clock.now += 0.1
    assert kept.find(SCOPE, [request]) == {}
    assert kept.lease(SCOPE, SPEC, 1) is None
    kept.expire()
    assert (len(kept), key.is_wiped) == (0, False)
    clock.now += 61
    kept.expire()
    assert key.is_wiped
    kept.close()


def test_no_more_keys_are_kept_than_the_bound() -> None:
    """Those not used for longest go first."""
    service = Recording()
    kept = KeptKeys(CacheOptions(max_keys=2))
    keys = service.generate([SPEC] * 3, SCOPE.audit)
    requests = [RetrieveRequest(key.keyset, key.iv, key.tag, key.descriptor) for key in keys]
    kept.keep(SCOPE, dict(zip(requests[:2], keys[:2], strict=True)), kept.now())
    kept.find(SCOPE, requests[:1])
    kept.keep(SCOPE, {requests[2]: keys[2]}, kept.now())

    assert set(kept.find(SCOPE, requests)) == {requests[0], requests[2]}
    kept.close()
    assert all(key.is_wiped for key in keys)


def test_a_lease_serves_no_more_values_than_its_bound() -> None:
    """A call that needs more goes on under the next lease."""
    service = Recording()
    with Encryption.over(service, cache=CacheOptions(max_values=4)) as encryption:
        for count in (3, 3, 6):
            values = [f"v{i}" for i in range(count)]
            sealed = encryption.encrypt_many(values, field=FIELD, format="leased")
            assert encryption.decrypt_many(sealed) == values

    generated = [asked.count for asked in service.asked if asked.call == "generate"]
    assert generated == [1, 1, 1]


def test_a_deleted_client_reads_no_longer_than_the_bound() -> None:
    """What is kept opens within its age; after it, the refusal is met."""
    clock, service = Clock(), Recording()
    with Encryption.over(service) as encryption:
        kept = KeptKeys(CacheOptions(max_age_s=60), clock=clock)
        encryption._keyring.kept = kept
        envelope = encryption.encrypt("ann", field=FIELD)
        assert encryption.decrypt(envelope) == "ann"
        service.deleted = True
        clock.now += 59
        assert encryption.decrypt(envelope) == "ann"
        clock.now += 1
        with pytest.raises(KeyAccessDenied):
            encryption.decrypt(envelope)
