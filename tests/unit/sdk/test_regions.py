"""Several regions behind one object: each envelope to its owner, and nothing of one to another."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from tests.fakes.keyservice import Clock
from tests.proxy import Proxy
from tests.unit.sdk.services import Recording
from worker import Encryption, LockContext, Regions, output_schema
from worker.encryption import LeasedEnvelope
from worker.errors import (
    ConfigError,
    DecryptionError,
    KeyAccessDenied,
    KeyMaterialError,
    KeyServiceUnavailable,
    RegionViolation,
    WorkerError,
)
from worker.sdk.owners import Owners

FIELD = "acme.crm.Customer/email"
EU, AP = "eu-central-1", "ap-southeast-2"
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "acme.crm.Customer",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "email", "type": "string", "encrypted": {"context": ["id"]}},
        ],
    }
)


class Listening(Proxy):
    """Keeps every byte that passes, in both directions."""

    def __init__(self, url: str) -> None:
        super().__init__(urlsplit(url).port or 0)
        self.heard = bytearray()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read = reader.read

        async def tapped(n: int = -1) -> bytes:
            chunk = await read(n)
            self.heard += chunk
            return chunk

        reader.read = tapped  # type: ignore[method-assign]
        await super()._pump(reader, writer)


@pytest.fixture
def listeners(authority: dict[str, str], authority_ap: dict[str, str]) -> Iterator[dict[str, Listening]]:
    """What stands between a program and each region's authority."""
    with ExitStack() as stack:
        yield {
            region: stack.enter_context(Listening(env["CS_ZEROKMS_HOST"]))
            for region, env in ((EU, authority), (AP, authority_ap))
        }


@pytest.fixture
def environ(listeners: dict[str, Listening], authority: dict[str, str], authority_ap: dict[str, str]) -> dict[str, str]:
    """Both regions' credentials by prefix, their calls for keys past who listens."""
    found: dict[str, str] = {}
    for prefix, region, env in (("CS_EU_", EU, authority), ("CS_AP_", AP, authority_ap)):
        own = {**env, "CS_ZEROKMS_HOST": f"http://{listeners[region].address}/"}
        found |= {f"{prefix}{name.removeprefix('CS_')}": value for name, value in own.items()}
    return found


@pytest.fixture
def regions(environ: dict[str, str]) -> Iterator[Regions]:
    with Regions.from_env("CS_EU_", "CS_AP_", environ=environ) as made:
        yield made


def test_each_envelope_goes_to_its_owner_and_nothing_to_another(
    regions: Regions, listeners: dict[str, Listening]
) -> None:
    """A mixed call opens all, in order, with one request a region; neither authority hears a thing of the other's."""
    context = {region: {"tenant": f"tenant-of-{region}"} for region in (EU, AP)}
    sealed = {
        region: regions.encrypt_many(
            ["ann", "bob"], field=FIELD, region=region, format="leased", context=context[region]
        )
        for region in (EU, AP)
    }
    for listener in listeners.values():
        listener.heard.clear()
    plain = {region: regions.encrypt(region, field=FIELD, region=region) for region in (EU, AP)}

    opened = [regions.decrypt(sealed[region][0], field=FIELD, context=context[region]) for region in (EU, AP, EU)]
    mixed = regions.decrypt_many([plain[EU], plain[AP], plain[EU]], field=FIELD)

    assert opened == ["ann"] * 3
    assert mixed == [EU, AP, EU]
    for region, other in ((EU, AP), (AP, EU)):
        heard = bytes(listeners[region].heard)
        own, foreign = (LeasedEnvelope.parse(sealed[r][0]) for r in (region, other))
        assert str(own.keyset).encode() in heard
        assert base64.b64encode(own.iv) in heard
        assert f"tenant-of-{region}".encode() in heard
        for secret in (str(foreign.keyset).encode(), base64.b64encode(foreign.iv), f"tenant-of-{other}".encode()):
            assert secret not in heard


def test_an_envelope_without_credentials_costs_its_own_place(authority: dict[str, str], regions: Regions) -> None:
    """With one region's credentials the other's envelopes are errors that name the keyset; the rest open."""
    envelopes = [regions.encrypt("ann", field=FIELD, region=region) for region in (EU, AP, EU)]
    with Regions([Encryption.from_env(environ=authority)]) as only:
        first, refused, last = only.decrypt_many(envelopes, field=FIELD, errors="return")
        with pytest.raises(KeyAccessDenied, match=AP):
            only[AP]

    assert (first, last) == ("ann", "ann")
    assert isinstance(refused, KeyAccessDenied)
    keyset = regions[AP].keysets()[0].id
    assert str(keyset) in str(refused)
    assert EU in str(refused)


def test_an_unknown_keyset_is_refused_here(regions: Regions, listeners: dict[str, Listening]) -> None:
    """No authority hears of a keyset that none of them has listed, nor of the context that came with it."""
    envelope = regions.encrypt("ann", field=FIELD, region=EU, format="leased")
    forged = envelope[:2] + uuid4().bytes + envelope[18:]

    with pytest.raises(KeyAccessDenied, match="none of"):
        regions.decrypt(forged, field=FIELD, context={"tenant": "tenant-4711"})

    for listener in listeners.values():
        assert str(UUID(bytes=forged[2:18])).encode() not in listener.heard
        assert b"tenant-4711" not in listener.heard


def test_the_source_s_region_counts(regions: Regions, listeners: dict[str, Listening]) -> None:
    """Where the caller says whose topic it reads, another region's keyset is refused before its context is sent."""
    datum = regions[EU].encrypt_record({"id": 4711, "email": "ann@x"}, schema=SCHEMA)
    envelope = regions.encrypt("ann", field=FIELD, region=EU)
    output = output_schema(SCHEMA)
    assert regions.decrypt_records([datum], schema=output, region=EU) == [{"id": 4711, "email": "ann@x"}]
    for listener in listeners.values():
        listener.heard.clear()

    with pytest.raises(DecryptionError, match="moved"):
        regions.decrypt(envelope, field=FIELD, region=AP)
    with pytest.raises(DecryptionError, match="moved"):
        regions.decrypt_records([datum], schema=output, region=AP)

    assert b"4711" not in listeners[AP].heard
    assert b"retrieve-data-key" not in listeners[AP].heard + listeners[EU].heard


def test_a_reason_goes_to_every_region(regions: Regions, listeners: dict[str, Listening]) -> None:
    """`because` holds for all, in the threads that ask them too."""
    envelopes = [regions.encrypt("ann", field=FIELD, region=region) for region in (EU, AP)]

    with regions.because("ticket 4711"):
        regions.decrypt_many(envelopes)

    assert all(b'"reason":"ticket 4711"' in listener.heard for listener in listeners.values())


def test_a_region_that_is_away_costs_its_own_envelopes(regions: Regions, listeners: dict[str, Listening]) -> None:
    """The others' open, and its own say that asking again is worth it."""
    envelopes = [regions.encrypt("ann", field=FIELD, region=region) for region in (EU, AP)]
    regions.decrypt_many(envelopes)
    fresh = [regions.encrypt("bob", field=FIELD, region=region) for region in (EU, AP)]
    listeners[AP].refuse = True
    listeners[AP].cut()

    mine, away = regions.decrypt_many(fresh, errors="return")

    assert mine == "bob"
    assert isinstance(away, KeyServiceUnavailable)


def test_locks_go_along(regions: Regions) -> None:
    """What a call is given holds for each region's part of it."""
    lock = LockContext(values={"case": "17"})
    envelopes = [regions.encrypt("ann", field=FIELD, region=region, lock_context=lock) for region in (EU, AP)]

    assert regions.decrypt_many(envelopes, lock_context=lock) == ["ann", "ann"]
    assert [type(error) for error in regions.decrypt_many(envelopes, errors="return")] == [
        type(error) for error in regions.decrypt_many(envelopes[::-1], errors="return")
    ]


def test_reads_every_prefix_of_the_environment(environ: dict[str, str]) -> None:
    """Without prefixes, all that name a workspace count."""
    with Regions.from_env(environ=environ) as found:
        assert sorted(found) == [AP, EU]
        assert len(found) == 2
    with pytest.raises(ConfigError, match="no workspace"):
        Regions.from_env(environ={})


def test_reads_from_a_generator_until_it_is_closed(regions: Regions) -> None:
    """Then it says so, whichever call comes."""
    sealed = [regions.encrypt("ann", field=FIELD, region=region) for region in (EU, AP)]

    assert regions.decrypt_many((each for each in sealed), field=FIELD) == ["ann", "ann"]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="for one there is decrypt"):
        regions.decrypt_many(sealed[0], field=FIELD)  # type: ignore[arg-type]
    regions.close()
    for call in (
        lambda: regions.decrypt_many(sealed, field=FIELD),
        lambda: regions.decrypt(sealed[0], field=FIELD),
        lambda: regions.encrypt("ann", field=FIELD, region=EU),
    ):
        with pytest.raises(ConfigError, match="is closed"):
            call()


def test_refuses_clients_it_can_t_route_between(environ: dict[str, str]) -> None:
    """Two of one region, none at all, and one without a region."""
    with (
        Encryption.from_env("CS_EU_", environ=environ) as one,
        Encryption.from_env("CS_EU_", environ=environ) as two,
        Encryption.over(Recording()) as nowhere,
    ):
        for clients in ([one, two], [], [nowhere]):
            with pytest.raises(ConfigError):
                Regions(clients)


KEYSETS = {EU: {UUID(int=1), UUID(int=2)}, AP: {UUID(int=3)}}


def test_a_keyset_that_two_regions_claim_is_asked_of_neither() -> None:
    """An authority that lists another's keyset draws nothing to itself."""
    owners = Owners([EU, AP], lambda region: KEYSETS[region] | {UUID(int=9)})

    found = owners.of([UUID(int=1), UUID(int=9)])

    assert found[UUID(int=1)] == EU
    assert isinstance(found[UUID(int=9)], RegionViolation)


def test_lists_are_asked_for_again_when_a_keyset_is_new_but_not_each_time() -> None:
    """A keyset made meanwhile is found after the pause; unknown ones don't make us ask without end."""
    clock, asked, lists = Clock(), list[str](), {region: set(ids) for region, ids in KEYSETS.items()}

    def keysets(region: str) -> set[UUID]:
        asked.append(region)
        return lists[region]

    owners = Owners([EU, AP], keysets, clock=clock)
    for _ in range(5):
        assert isinstance(owners.of([UUID(int=7)])[UUID(int=7)], KeyAccessDenied)
    assert asked == [EU, AP]

    lists[AP].add(UUID(int=7))
    clock.now += 30

    assert owners.of([UUID(int=7)])[UUID(int=7)] == AP


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyServiceUnavailable("away"), KeyServiceUnavailable),
        (KeyAccessDenied("no"), KeyAccessDenied),
        (KeyMaterialError("of another shape"), KeyAccessDenied),
    ],
)
def test_a_list_that_is_not_to_be_had_is_said(error: WorkerError, kind: type[WorkerError]) -> None:
    """Barred, malformed and silent regions are told apart; the others' keysets are known all the same."""

    def keysets(region: str) -> set[UUID]:
        if region == AP:
            raise error
        return KEYSETS[region]

    owners = Owners([EU, AP], keysets)
    found = owners.of([UUID(int=1), UUID(int=3)])

    assert found[UUID(int=1)] == EU
    refused = found[UUID(int=3)]
    assert isinstance(refused, kind)
    assert AP in str(refused)
