"""Erased subjects as the worker and the SDK meet them, against a real authority."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fakes.canaries import CanaryMemory
from tests.fakes.records import records_of
from worker.authority.dev import DevAuthority
from worker.authority.erasure.tree import Tree
from worker.avro import DeclarationOptions, LocalSchema, LocalSchemas
from worker.canary.keyset import Canaries
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.errors import CanaryError, SubjectErased
from worker.metrics import Metrics
from worker.model import Audit, Fate, Format, KeySpec, Position, SourceRecord, batch_of
from worker.pipeline.batch import BatchProcessor, Steps
from worker.pipeline.schemas import SchemaRules, subject_of
from worker.pipeline.verify import OutputVerifier
from worker.sdk import Encryption
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.factory import client_from_environment
from worker.zerokms.keys import KeyCache, KeyOptions, RetrievedKeys

AUDIT = Audit("test")
FIELD = "acme.crm.Customer/email"
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Customer",
        "namespace": "acme.crm",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "email", "type": "string", "encrypted": {"context": ["id"], "keyset": "people"}},
        ],
    }
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """An authority with an erasable keyset, of which the customers 1 and 3 were erased."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("erasable")) as running:
        running.admin("create-keyset", {"name": "people", "description": "people", "erasable": True})
        running.grant(running.env["CS_CLIENT_ID"], "people")
        erase(running, "1", "3")
        yield running


def erase(own: DevAuthority, *ids: str) -> None:
    own.admin("api/erase", {"keyset_id": {"Name": "people"}, "values": [["id", each] for each in ids]})


def client_of(own: DevAuthority, metrics: Metrics | None = None) -> ZeroKMSClient:
    return client_from_environment(own.env, allow_hosts=(urlsplit(own.url).netloc,), metrics=metrics)


def processed(
    cache: KeyCache, *, seals_erased: bool, chosen: Format, held: RetrievedKeys | None = None
) -> BatchProcessor:
    metrics = Metrics("eu-central-1")
    verifier = None if held is None else OutputVerifier(BatchDecryptor(held), rate=1.0, route="r", metrics=metrics)
    return BatchProcessor(
        LocalSchemas({1: LocalSchema(input=SCHEMA, output_id=1001)}),
        SchemaRules(DeclarationOptions(format=chosen), subject_of("topic", "out")),
        BatchEncryptor(cache),
        Steps(seals_erased=seals_erased, verifier=verifier),
        route="r",
        metrics=metrics,
    )


def records(*ids: int) -> list[SourceRecord]:
    return [
        SourceRecord(Position("in", 0, n), None, b"\0\0\0\0\1" + bytes([2 * each, 6]) + b"ann", (), 1, 1000)
        for n, each in enumerate(ids)
    ]


@pytest.mark.parametrize("chosen", ["record", "leased"])
def test_an_erased_record_is_dropped_and_the_others_are_written(own: DevAuthority, chosen: Format) -> None:
    """One refusal names them all; the rest of its request is asked for once more, and nothing stops."""
    metrics = Metrics("eu-central-1")
    with client_of(own, metrics) as client, KeyCache(client, audit=AUDIT) as cache:
        made = processed(cache, seals_erased=False, chosen=chosen).process(batch_of(records(*range(6))))

    assert [made.fates[i] for i in range(6)] == [Fate.ERASED if i in (1, 3) else Fate.ENCRYPTED for i in range(6)]
    assert not made.failures
    assert len(records_of(made.output)) == 4
    labels = {"region": "eu-central-1", "endpoint": "generate-data-key"}
    told = {
        o: metrics.registry.get_sample_value("worker_authority_requests_total", labels | {"outcome": o})
        for o in ("200", "403")
    }
    assert told["403"] == 1
    assert (told["200"] or 0) <= 2


def test_a_route_may_have_them_sealed(own: DevAuthority) -> None:
    """Then each is a dead letter with a code of its own."""
    with client_of(own) as client, KeyCache(client, audit=AUDIT) as cache:
        made = processed(cache, seals_erased=True, chosen="leased").process(batch_of(records(0, 1, 3)))

    assert [failure.error.code for failure in made.failures] == ["subject_erased"] * 2
    assert len(records_of(made.output)) == 1


def test_a_batch_of_erased_subjects_alone_is_dropped(own: DevAuthority) -> None:
    """Nothing is left to be asked for."""
    with client_of(own) as client, KeyCache(client, audit=AUDIT) as cache:
        made = processed(cache, seals_erased=False, chosen="leased").process(batch_of(records(1, 3)))

    assert [made.fates[i] for i in range(2)] == [Fate.ERASED] * 2


def test_what_is_held_ends_within_its_bound(own: DevAuthority) -> None:
    """Where nothing is kept, the next batch of an erased subject is dropped, whatever was encrypted before."""
    with client_of(own) as client, KeyCache(client, audit=AUDIT, options=KeyOptions(max_age_s=0)) as cache:
        held = RetrievedKeys(client, audit=AUDIT, options=KeyOptions(max_age_s=0))
        route = processed(cache, seals_erased=False, chosen="leased", held=held)
        before = route.process(batch_of(records(20)))
        erase(own, "20")
        after = route.process(batch_of(records(20, 21)))
        held.close()

    assert before.fates[0] is Fate.ENCRYPTED
    assert [after.fates[i] for i in range(2)] == [Fate.ERASED, Fate.ENCRYPTED]


@pytest.mark.parametrize("chosen", ["record", "leased"])
def test_the_sdk_says_erased(own: DevAuthority, chosen: Format) -> None:
    """An error of its own, on both ways; beside it other values open, and no message holds the value."""
    number = {"record": "5551", "leased": "5552"}[chosen]
    with Encryption.from_env(environ=own.env) as sdk:
        envelopes = [
            sdk.encrypt("ann", field=FIELD, format=chosen, keyset="people", context={"id": each})
            for each in (number, "40")
        ]
    erase(own, number)
    # What the first one keeps serves it to its age.
    with Encryption.from_env(environ=own.env) as sdk:
        for asking in (
            lambda: sdk.decrypt(envelopes[0], field=FIELD, context={"id": number}),
            lambda: sdk.encrypt("ann", field=FIELD, format=chosen, keyset="people", context={"id": number}),
        ):
            with pytest.raises(SubjectErased, match="erased") as refused:
                asking()
            assert number not in str(refused.value)
        assert sdk.decrypt(envelopes[1], field=FIELD, context={"id": "40"}) == "ann"
        (one,) = sdk.decrypt_many([envelopes[0]], field=FIELD, context={"id": number}, errors="return")
        assert isinstance(one, SubjectErased)


def test_the_second_canary_sees_a_wrong_tree(tmp_path: Path) -> None:
    """The first one has no context and opens; the worker writes nothing under a tree that is another one."""
    with DevAuthority("eu-central-1", tmp_path / "a") as own, client_of(own) as client:
        keyset = own.admin("create-keyset", {"name": "people", "description": "x", "erasable": True})["id"]
        own.grant(own.env["CS_CLIENT_ID"], "people")
        canaries = Canaries(
            client,
            resolve=client.resolve_keyset,
            store=CanaryMemory(),
            instance="test",
            erasable=lambda name: client.load_keyset(name).is_erasable,
        )
        canaries.check("people")
        witness = client.generate([canaries.witness("people")], AUDIT)
        canaries.vouch("people", witness)
        opened = own.authority.store.state.opened
        opened["erasures"].clear()
        opened["shards"][keyset, ""] = Tree.random().to_bytes()

        with pytest.raises(CanaryError, match="other keys than before"):
            canaries.check("people")
        with pytest.raises(CanaryError):
            canaries.vouch("people", client.generate([KeySpec("people", "zk-canary")], AUDIT))
