"""The SDK over a key service in memory, and its documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import anyio
import cbor2
import numpy as np
import pytest

from tests.unit.encryption.authority import KEYSET, InMemoryAuthority
from tests.unit.sdk.services import Asynchronous
from worker import AsyncEncryption, Encryption, LockContext, errors
from worker.errors import ConfigError, ContextDenied, DecryptionError, RecordError, RegionViolation
from worker.model import Format, PolicyCondition
from worker.zerokms.derive import ClientKey

FIELD = "acme.crm.Customer/email"
FORMATS: tuple[Format, ...] = ("record", "leased")
SERVED = re.compile(r"from_env|Encryption\(|cursor|registry|Table\(")
"""Examples that need a server."""
DOCS = Path(__file__).parents[3] / "docs"


class Tier(StrEnum):
    """As applications name what they store."""

    GOLD = "gold"


class Level(IntEnum):
    """And number."""

    HIGH = 3


@pytest.fixture
def encryption() -> Encryption:
    return Encryption.over(InMemoryAuthority())


@pytest.mark.parametrize("value", ["ann@example.com", "", 7, -(2**63), 1.5, True])
@pytest.mark.parametrize("chosen", FORMATS)
def test_a_value_comes_back(encryption: Encryption, chosen: Format, value: object) -> None:
    """Either format gives the value and its type back, with the field named or not."""
    envelope = encryption.encrypt(value, field=FIELD, format=chosen)

    assert encryption.decrypt(envelope, field=FIELD) == value
    assert encryption.decrypt(envelope) == value
    assert type(encryption.decrypt(envelope)) is type(value)


@pytest.mark.parametrize("value", [Tier.GOLD, Level.HIGH, np.float64(0.5), np.str_("ann")])
@pytest.mark.parametrize("chosen", FORMATS)
def test_a_subclass_comes_back_as_what_it_equals(encryption: Encryption, chosen: Format, value: object) -> None:
    """Enumerations of texts or numbers, and NumPy's: in either format alike."""
    assert encryption.decrypt(encryption.encrypt(value, field=FIELD, format=chosen), field=FIELD) == value


@pytest.mark.parametrize("value", [b"ann", None, [1]])
def test_what_needs_a_schema_to_be_read_needs_it_to_be_sealed(encryption: Encryption, value: object) -> None:
    """Bytes among them, which nobody could tell from a decimal."""
    with pytest.raises(RecordError, match="schema"):
        encryption.encrypt(value, field=FIELD, format="leased")


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ('"bytes"', b"\0\xff"),
        ('["null", "string"]', None),
        ('["null", "string"]', "ann"),
        ('{"type": "array", "items": "int"}', [1, 2, 3]),
        ('{"type": "enum", "name": "Tier", "symbols": ["GOLD", "TIN"]}', "TIN"),
        ('{"type": "record", "name": "Name", "fields": [{"name": "first", "type": "string"}]}', {"first": "Ann"}),
    ],
)
@pytest.mark.parametrize("chosen", FORMATS)
def test_a_value_of_any_avro_type_comes_back(
    encryption: Encryption, chosen: Format, schema: str, value: object
) -> None:
    """With its schema, every Avro value is carried."""
    envelope = encryption.encrypt(value, field=FIELD, schema=schema, format=chosen)

    assert encryption.decrypt(envelope, field=FIELD, schema=schema) == value


@pytest.mark.parametrize("chosen", FORMATS)
def test_many_values_share_one_call(chosen: Format) -> None:
    """All keys of a call are asked for at once: one for each value, or one lease."""
    authority = InMemoryAuthority()
    encryption = Encryption.over(authority)
    texts = [f"customer{i}@example.com" for i in range(50)]

    envelopes = encryption.encrypt_many(texts, field=FIELD, format=chosen)

    assert encryption.decrypt_many(envelopes, field=FIELD) == texts
    assert len(authority.generated) == (50 if chosen == "record" else 1)
    assert encryption.encrypt_many([], field=FIELD, format=chosen) == []


@pytest.mark.parametrize("chosen", FORMATS)
def test_what_is_wrong_with_one_of_many_says_which(encryption: Encryption, chosen: Format) -> None:
    """Counted from 0 as in the list; alone it needs no number, and an error that is returned stands in its place."""
    good = encryption.encrypt("ann", field=FIELD, format=chosen)
    schema = '"string"' if chosen == "leased" else None

    with pytest.raises(RecordError, match=r"^item 2: "):
        encryption.encrypt_many(["ann", "bob", b"x"], field=FIELD, format=chosen, schema=schema)
    with pytest.raises(RecordError, match=r"^(?!item)"):
        encryption.encrypt(b"x", field=FIELD, format=chosen, schema=schema)
    with pytest.raises(DecryptionError, match=r"^item 1: not an envelope"):
        encryption.decrypt_many([good, b""], field=FIELD)
    with pytest.raises(DecryptionError, match=r"^not an envelope"):
        encryption.decrypt(b"", field=FIELD)
    returned = encryption.decrypt_many([good, b""], field=FIELD, errors="return")[1]
    assert str(returned).startswith("not an envelope")


@pytest.mark.parametrize("chosen", FORMATS)
def test_refuses_another_field(encryption: Encryption, chosen: Format) -> None:
    """A value asked for as another field is refused; its own descriptor can be had beside the value."""
    envelope = encryption.encrypt("ann", field=FIELD, format=chosen)

    with pytest.raises(DecryptionError):
        encryption.decrypt(envelope, field="acme.crm.Customer/name")
    assert encryption.decrypt_described(envelope) == ("ann", FIELD)


@pytest.mark.parametrize("chosen", FORMATS)
def test_a_context_is_needed_again(encryption: Encryption, chosen: Format) -> None:
    """Sibling values and a lock context open only with the same ones."""
    lock = LockContext(identity=("sub",), values={"case": "17"}, tags=("support",))
    envelope = encryption.encrypt("ann", field=FIELD, format=chosen, context={"tenant": "a"}, lock_context=lock)

    assert encryption.decrypt(envelope, field=FIELD, context={"tenant": "a"}, lock_context=lock) == "ann"
    for options in (
        {},
        {"context": {"tenant": "a"}},
        {"context": {"tenant": "b"}, "lock_context": lock},
        {"context": {"tenant": "a"}, "lock_context": LockContext(identity=("sub",))},
    ):
        with pytest.raises(ContextDenied):
            encryption.decrypt(envelope, field=FIELD, **options)


def test_bound_values_are_needed_again(encryption: Encryption) -> None:
    """A bound value opens in its own row only."""
    envelope = encryption.encrypt("ann", field=FIELD, format="leased", bind={"id": b"\x02"})

    assert encryption.decrypt(envelope, bind={"id": b"\x02"}) == "ann"
    for bind in (None, {"id": b"\x04"}, {"key": b"\x02"}):
        with pytest.raises(DecryptionError):
            encryption.decrypt(envelope, bind=bind)
    with pytest.raises(DecryptionError):
        encryption.decrypt(encryption.encrypt("ann", field=FIELD), bind={"id": b"\x02"})


def test_a_field_of_a_long_identity_needs_no_descriptor_by_hand(encryption: Encryption) -> None:
    """Over 255 bytes its hash stands for it, here as in the worker."""
    identity = "acme.crm.Customer/" + "x" * 300

    assert encryption.decrypt(encryption.encrypt("ann", field=identity), field=identity) == "ann"


def test_a_policy_travels_in_the_envelope(encryption: Encryption) -> None:
    """A decryption policy is stored in the record and presented with it."""
    envelope = encryption.encrypt("ann", field=FIELD, policy=[PolicyCondition("sub")])

    assert envelope[0] == 0x96
    assert encryption.decrypt(envelope) == "ann"


@pytest.mark.parametrize(
    "options",
    [
        {"policy": [PolicyCondition("sub")], "format": "leased"},
        {"policy": [PolicyCondition("sub")], "context": {"a": "b"}},
        {"policy": [PolicyCondition("sub")], "lock_context": LockContext(tags=("a",))},
        {"bind": {"id": b""}},
        {"field": ""},
    ],
)
def test_refuses_options_that_exclude_each_other(encryption: Encryption, options: dict[str, Any]) -> None:
    """What a format can't carry is refused before any key is asked for."""
    with pytest.raises(ConfigError):
        encryption.encrypt("ann", **{"field": FIELD, **options})


def test_refuses_values_that_need_a_schema(encryption: Encryption) -> None:
    """Values without a primitive type of their own need their schema, at both ends."""
    for values in ([None], [{"a": 1}], ["a", 1]):
        with pytest.raises(RecordError):
            encryption.encrypt_many(values, field=FIELD, format="leased")
    array = encryption.encrypt([1], field=FIELD, format="leased", schema='{"type": "array", "items": "int"}')
    with pytest.raises(DecryptionError):
        encryption.decrypt(array)
    with pytest.raises(DecryptionError):
        encryption.decrypt(array, schema='"string"')


def test_one_bad_envelope_can_be_returned_among_good_ones(encryption: Encryption) -> None:
    """A refusal stands in its value's place, or is raised."""
    good = encryption.encrypt("ann", field=FIELD)

    found = encryption.decrypt_many([good, b"\x95", good], field=FIELD, errors="return")

    assert found[0] == found[2] == "ann"
    assert isinstance(found[1], DecryptionError)
    with pytest.raises(DecryptionError):
        encryption.decrypt_many([good, b"\x95"], field=FIELD)


def test_names_the_keyset(encryption: Encryption) -> None:
    """A keyset by uuid is where the key comes from."""
    assert encryption.decrypt(encryption.encrypt("ann", field=FIELD, keyset=str(KEYSET))) == "ann"


def test_works_asynchronously() -> None:
    """The asynchronous SDK has the same calls."""

    async def story() -> object:
        async with AsyncEncryption.over(Asynchronous(InMemoryAuthority())) as encryption:
            one = await encryption.encrypt("ann", field=FIELD)
            many = await encryption.encrypt_many(["bob"], field=FIELD)
            described = await encryption.decrypt_described(one)
            return [await encryption.decrypt(one), *await encryption.decrypt_many(many), described.descriptor]

    assert anyio.run(story) == ["ann", "bob", FIELD]


CREDENTIALS = {
    "CS_EU_WORKSPACE_CRN": "crn:eu-central-1.aws:ZVATKW3VHMFG27DY",
    "CS_EU_CLIENT_ID": "00000000-0000-0000-0000-000000001234",
    "CS_EU_CLIENT_ACCESS_KEY": "CSAKAAAA.BBBB",
}


def test_reads_credentials_by_prefix(client_key: str) -> None:
    """One prefix is one region; what is missing or of another region is named."""
    environ = {**CREDENTIALS, "CS_EU_CLIENT_KEY": client_key}
    local = {"CS_EU_CTS_HOST": "http://127.0.0.1:1", "CS_EU_ZEROKMS_HOST": "http://127.0.0.1:1"}

    Encryption.from_env("CS_EU_", environ={**environ, **local}).close()

    with pytest.raises(ConfigError, match=r"CS_AP_WORKSPACE_CRN.*CS_EU_"):
        Encryption.from_env("CS_AP_", environ=environ)
    with pytest.raises(RegionViolation):
        Encryption.from_env("CS_EU_", environ={**environ, "CS_EU_CTS_HOST": "https://elsewhere.example"})


def test_takes_credentials_as_arguments(client_key: str) -> None:
    """An access key or an identity provider's token, and exactly one of them."""
    common: dict[str, Any] = {
        "workspace_crn": CREDENTIALS["CS_EU_WORKSPACE_CRN"],
        "client_id": CREDENTIALS["CS_EU_CLIENT_ID"],
        "client_key": client_key,
    }

    with Encryption(**common, access_key="CSAKAAAA.BBBB"), Encryption(**common, oidc_token=lambda: "a.b.c"):
        pass

    more: dict[str, Any]
    for more in ({}, {"access_key": "CSAKAAAA.BBBB", "oidc_token": lambda: ""}, {"access_key": "x"}):
        with pytest.raises(ConfigError):
            Encryption(**common, **more)
    with pytest.raises(ConfigError, match="client_id"):
        Encryption(**{**common, "client_id": "x"}, access_key="CSAKAAAA.BBBB")


@pytest.fixture
def client_key() -> str:
    identity = list(range(16))
    order = list(range(33))
    parts = {"p1": identity, "p2_from": identity, "p2_to": identity, "p3": order}
    return ClientKey.parse(cbor2.dumps({name: {"permutation": p} for name, p in parts.items()}).hex()).to_hex()


def test_importing_worker_stays_cheap() -> None:
    """`import worker` loads neither the SDK nor the authority, and `Encryption` does not drag the authority in."""
    program = (
        "import sys, worker; assert 'worker.sdk' not in sys.modules and 'numpy' not in sys.modules;"
        "worker.Encryption; assert not any(m.startswith('worker.authority') for m in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

    assert errors.WorkerError.exit_code == 3


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / "sdk.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("program", [b for b in blocks() if not SERVED.search(b)])
def test_documented_examples_run(program: str) -> None:
    """Each example of docs/sdk.md that needs no server runs as it stands."""
    encryption = Encryption.over(InMemoryAuthority())

    exec(compile(program, "docs/sdk.md", "exec"), {"encryption": encryption})


def test_a_misspelt_option_is_refused(encryption: Encryption) -> None:
    """A checker refuses an option that there is not, and so does the call itself."""
    envelope = encryption.encrypt("ann", field=FIELD)

    with pytest.raises(TypeError, match="unexpected keyword argument 'formt'; do you mean 'format'"):
        encryption.encrypt("ann", field=FIELD, formt="leased")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'contxt'; do you mean 'context'"):
        encryption.decrypt(envelope, contxt={"a": "b"})  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'access_key'; there are allow_hosts, cache, environ, reason"):
        Encryption.from_env(access_key="CSAK")  # type: ignore[call-arg]
