"""The SDK against a running authority: both formats, both clients, records, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from worker.authority.dev import DevAuthority
from worker.avro import DeclarationOptions, compile_schema, encode_value
from worker.encryption import BatchEncryptor
from worker.encryption.ondemand import OnDemandKeys
from worker.errors import ConfigError, ContextDenied, DeclarationError, DecryptionError, KeyAccessDenied
from worker.metrics import Metrics
from worker.model import Audit, Format, KeySpec, Specs
from worker.sdk import Encryption, LockContext
from worker.zerokms.factory import client_from_environment
from worker.zerokms.options import ClientOptions

FIELD = "acme.crm.Customer/email"
FORMATS: tuple[Format, ...] = ("record", "leased")
SECOND = ("CS_CLIENT_ID", "CS_CLIENT_KEY", "CS_CLIENT_ACCESS_KEY")


def of_second(env: Mapping[str, str]) -> dict[str, str]:
    return {**env, **{name: env[f"{name}_2"] for name in SECOND}}


@pytest.fixture
def encryption(authority: dict[str, str]) -> Iterator[Encryption]:
    with Encryption.from_env(environ=authority) as made:
        yield made


@pytest.mark.parametrize("chosen", FORMATS)
def test_a_second_client_reads_the_firsts_values(
    encryption: Encryption, authority: dict[str, str], chosen: Format
) -> None:
    """Two clients of one keyset read each other's envelopes."""
    lock = LockContext(values={"case": "17"})
    envelope = encryption.encrypt("ann", field=FIELD, format=chosen, context={"t": 1}, lock_context=lock)

    with Encryption.from_env(environ=of_second(authority)) as second:
        assert second.decrypt(envelope, field=FIELD, context={"t": 1}, lock_context=lock) == "ann"
        with pytest.raises(ContextDenied):
            second.decrypt(envelope, field=FIELD, context={"t": 2}, lock_context=lock)


@pytest.mark.parametrize("chosen", FORMATS)
def test_no_byte_of_an_envelope_can_change(encryption: Encryption, chosen: Format) -> None:
    """Against a real authority too, every flipped byte is a refusal."""
    envelope = encryption.encrypt("ann", field=FIELD, format=chosen)
    broken = [envelope[:i] + bytes([byte ^ 1]) + envelope[i + 1 :] for i, byte in enumerate(envelope)]

    opened = []
    for data in broken:
        try:
            opened.append(encryption.decrypt(data, field=FIELD))
        except (DecryptionError, KeyAccessDenied):
            continue

    assert opened == []


@pytest.mark.parametrize("chosen", FORMATS)
def test_another_regions_client_is_refused(
    encryption: Encryption, authority_ap: dict[str, str], chosen: Format
) -> None:
    """An envelope of one region does not open with another's credentials."""
    envelope = encryption.encrypt("ann", field=FIELD, format=chosen)

    with Encryption.from_env(environ=authority_ap) as other, pytest.raises(KeyAccessDenied):
        other.decrypt(envelope, field=FIELD)


def test_a_deleted_client_opens_nothing(tmp_path: Path) -> None:
    """Where nothing is kept, revocation takes effect at the next call."""
    with (
        DevAuthority("eu-central-1", tmp_path) as dev,
        Encryption.from_env(environ=of_second(dev.env), cache=None) as second,
    ):
        envelope = second.encrypt("ann", field=FIELD)
        assert second.decrypt(envelope) == "ann"

        dev.delete_client(dev.env["CS_CLIENT_ID_2"])

        with pytest.raises(KeyAccessDenied, match="Client not found"):
            second.decrypt(envelope)


def schema(chosen: Format) -> str:
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "long"},
        {"name": "tenant", "type": "string"},
        {"name": "email", "type": ["null", "string"], "default": None, "encrypted": {"format": chosen}},
        {"name": "name", "type": "string", "encrypted": {"format": chosen, "context": ["tenant"]}},
        {"name": "born", "type": {"type": "int", "logicalType": "date"}, "encrypted": {"format": chosen}},
    ]
    if chosen == "leased":
        fields[2]["encrypted"]["bind"] = ["id", "$key"]
    return json.dumps({"type": "record", "name": "acme.crm.Customer", "fields": fields})


def test_a_record_in_the_clear_is_no_decrypted_one(encryption: Encryption) -> None:
    """Under a schema without `encryption` nothing was opened: it says so, unless the caller names the record."""
    text = json.dumps({"type": "record", "name": "acme.ops.Heartbeat", "fields": [{"name": "id", "type": "long"}]})

    with pytest.raises(DeclarationError, match="no `encryption`"):
        encryption.decrypt_record(b"\2", schema=text)
    assert encryption.decrypt_records([b"\2"], schema=text, clear=["acme.ops.Heartbeat"]) == [{"id": 1}]


@pytest.mark.parametrize("field", ["zk-canary", "dead/customers", "key/customers"])
def test_the_workers_own_descriptors_are_refused(encryption: Encryption, field: str) -> None:
    """A value sealed under one of them could stand for a canary, a letter or a key."""
    with pytest.raises(ConfigError, match="worker's own"):
        encryption.encrypt("ann", field=field)


@pytest.mark.parametrize("chosen", FORMATS)
def test_reads_whole_records_of_the_worker(authority: dict[str, str], chosen: Format) -> None:
    """What the stages wrote opens as the original record, and fields that were swapped do not."""
    rows: list[dict[str, Any]] = [
        {"id": 1, "tenant": "a", "email": "ann@example.com", "name": "Ann", "born": date(1970, 1, 8)},
        {"id": 2, "tenant": "b", "email": None, "name": "Bob", "born": date(1969, 12, 25)},
    ]
    clear = json.dumps(
        {
            **json.loads(schema(chosen)),
            "fields": [{**f, "encrypted": False} for f in json.loads(schema(chosen))["fields"]],
        }
    )
    compiled = compile_schema(schema(chosen), DeclarationOptions())
    split = compiled.split([encode_value(clear, row) for row in rows], [b"k1", b"k2"])
    with client_from_environment(authority, allow_hosts=("127.0.0.1", "localhost")) as client:
        with OnDemandKeys(client, Audit("test")) as keys:
            sealed = BatchEncryptor(keys).encrypt(split.columns).envelopes
        datums = [datum for datum in split.join(sealed) if datum is not None]
        encryption = Encryption.over(client)
        output = compiled.plan.output_schema

        opened = encryption.decrypt_records(datums, schema=output, keys=[b"k1", b"k2"])
        swapped = [sealed[1], sealed[1], sealed[2]] if len(sealed[0]) == 2 else [sealed[1][:1], *sealed[1:]]
        moved = encryption.decrypt_records(
            [datum for datum in split.join(swapped) if datum is not None],
            schema=output,
            keys=[b"k1", b"k2"],
            errors="return",
        )

    assert opened == rows
    assert isinstance(moved[0], DecryptionError)
    assert moved[0].path == FIELD


def test_a_request_asks_for_as_many_keys_as_the_authority_takes(authority: dict[str, str]) -> None:
    """The service token says how many: 1,200 keys are two requests; three before the first token, or as options say."""
    sizes: dict[int | None, float | None] = {}
    for own in (None, 500):
        metrics = Metrics("eu-central-1")
        options = ClientOptions(keys_per_request=own)
        with client_from_environment(authority, allow_hosts=("127.0.0.1",), options=options, metrics=metrics) as client:
            assert client.keys_per_request == 500
            keys = client.generate(Specs([(KeySpec(None, FIELD), 1_200)]), Audit("sdk", purpose="encrypt"))
            assert len(keys) == 1_200
        sizes[own] = metrics.registry.get_sample_value(
            "worker_authority_keys_per_request_count", {"region": "eu-central-1"}
        )

    assert sizes == {None: 2, 500: 3}
