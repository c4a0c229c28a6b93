"""What is spoken by kafka-python is never less strict than the worker's own clients."""

from __future__ import annotations

import ssl
import sys

import pytest

from worker.errors import ConfigError, SourceUnavailable
from worker.kafka.kafka_python import as_spoken
from worker.kafka.properties import Property
from worker.local.tls import CertificateAuthority
from worker.source.kafka import KafkaSource
from worker.source.options import SourceOptions
from worker.source.properties import GroupMember

BROKERS: dict[str, Property] = {"bootstrap.servers": "SSL://one:9093, two:9093"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("tls"))


def test_addresses_go_without_a_scheme() -> None:
    assert as_spoken(BROKERS)["bootstrap_servers"] == ["one:9093", "two:9093"]


def test_a_named_authority_is_the_only_one(certificates: CertificateAuthority) -> None:
    """Host names and certificates are verified, against that CA."""
    context = as_spoken({**BROKERS, "security.protocol": "ssl", "ssl.ca.location": str(certificates.path)})[
        "ssl_context"
    ]

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert len(context.get_ca_certs()) == 1


def test_certificates_come_from_files_and_from_text(certificates: CertificateAuthority) -> None:
    issued = certificates.issue("worker")
    for told in (("location", str(issued)), ("pem", issued.read_text())):
        identity: dict[str, Property] = {f"ssl.{what}.{told[0]}": told[1] for what in ("certificate", "key")}
        authority: dict[str, Property] = {"ssl.ca.pem": certificates.path.read_text()}
        context = as_spoken({**BROKERS, "security.protocol": "SSL", **authority, **identity})["ssl_context"]
        assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    "strange",
    [
        {"ssl.keystore.location": "/keys"},
        {"ssl.crl.location": "/revoked"},
        {"security.protocol": "SASL_SSL", "sasl.mechanisms": "GSSAPI"},
        {"security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc"},
        {"security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER"},
        {"security.protocol": "SSL", "ssl.ca.location": "/no/such/ca"},
    ],
)
def test_what_has_no_equal_is_not_spoken(strange: dict[str, Property]) -> None:
    with pytest.raises(SourceUnavailable):
        as_spoken({**BROKERS, **strange})


def test_a_refusal_holds_no_secret() -> None:
    with pytest.raises(SourceUnavailable) as refused:
        as_spoken({**BROKERS, "ssl.keystore.password": "hunter2", "sasl.password": "hunter2"})

    assert "ssl.keystore.password" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_static_member_begins_only_where_the_library_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What watches the group's partitions is not found missing by a thread, later."""
    monkeypatch.setitem(sys.modules, "kafka.net.compat", None)
    options = SourceOptions(topics=["customers"], static_membership=True)

    with pytest.raises(ConfigError, match=r"static_membership needs kafka-python.* pip install"):
        KafkaSource(options, GroupMember("group", "one"), BROKERS)
