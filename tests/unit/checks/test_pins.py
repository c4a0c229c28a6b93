"""Each pin compares two sides, names both, and stops the worker where they differ."""

from __future__ import annotations

import pytest

from worker.avro import LocalSchemas, SchemaSource
from worker.checks import pins
from worker.checks.findings import enforce, export
from worker.errors import ConfigError, KeyServiceUnavailable, RegionViolation, TransientError
from worker.finding import Finding, match
from worker.metrics import Metrics
from worker.region import Region, WorkspaceCrn

FRANKFURT, SYDNEY = Region("eu-central-1"), Region("ap-southeast-2")
CRN = "crn:ap-southeast-2.aws:ZVATKW3VHMFG27DY"


def test_a_workspace_of_another_region_is_refused_naming_both() -> None:
    """A CRN of another region stops the worker; the message names both regions."""
    finding = pins.workspace(FRANKFURT, WorkspaceCrn.parse(CRN))

    with pytest.raises(RegionViolation, match=r"(?s)eu-central-1.*ap-southeast-2"):
        enforce([finding])


@pytest.mark.parametrize(
    ("url", "allowed", "verdict"),
    [
        ("https://eu-central-1.aws.viturhosted.net/", (), "ok"),
        ("https://ap-southeast-2.aws.viturhosted.net/", (), "broken"),
        ("http://eu-central-1.aws.viturhosted.net/", (), "broken"),
        ("http://127.0.0.1:8081/", ("127.0.0.1:8081",), "unauthenticated"),
        ("http://127.0.0.1:8082/", ("127.0.0.1:8081",), "broken"),
        ("https://kms.internal/", ("kms.internal",), "ok"),
    ],
)
def test_a_host_is_the_regions_own_or_listed(url: str, allowed: tuple[str, ...], verdict: str) -> None:
    """Only the region's own host over https, or a listed one, passes."""
    assert pins.host("zerokms host", url, FRANKFURT.zerokms_url, allowed).verdict == verdict


@pytest.mark.parametrize(
    ("urls", "allowed", "verdicts"),
    [
        ("https://registry.eu-central-1.internal", (), ["ok"]),
        ("https://psrc-1.eu-central-1.aws.confluent.cloud,https://r.eu-central-1.x", (), ["ok", "ok"]),
        ("https://registry.eu-central-1.internal, https://registry.us-east-1.internal", (), ["ok", "broken"]),
        ("https://registry.us-east-1.internal", (), ["broken"]),
        ("https://registry.eu-central-10.internal", (), ["broken"]),
        ("http://registry.eu-central-1.internal", (), ["broken"]),
        ("https://registry.internal", ("registry.internal",), ["ok"]),
        ("http://127.0.0.1:8081", ("127.0.0.1:8081",), ["unauthenticated"]),
        ("http://127.0.0.1:8082", ("127.0.0.1:8081",), ["broken"]),
        ("", (), []),
    ],
)
def test_a_registry_bears_the_regions_name_or_is_listed(
    urls: str, allowed: tuple[str, ...], verdicts: list[str]
) -> None:
    """Each registry's host has the region's name as a whole label over https, or stands in the list."""
    source = asking(*filter(None, map(str.strip, urls.split(","))))

    assert [finding.verdict for finding in pins.registry(FRANKFURT, source, allowed)] == verdicts


def test_a_registrys_pin_says_whom_it_really_asks() -> None:
    """A proxy that stands between is named beside the host, without its credentials."""
    source = asking("https://r.eu-central-1.internal", proxy="http://me:secret@proxy.internal:3128")

    (finding,) = pins.registry(FRANKFURT, source, ())

    assert finding.found == "r.eu-central-1.internal through the proxy proxy.internal"


def asking(*addresses: str, proxy: str | None = None) -> SchemaSource:
    source = LocalSchemas({})
    source.addresses, source.proxy = addresses, proxy
    return source


def test_another_cluster_is_refused_naming_both() -> None:
    """A cluster id that differs stops the worker and stands in the message beside the expected one."""
    finding = match("kafka cluster", "Xk9-eu", "Yq2-ap", "correct cluster_id")

    with pytest.raises(RegionViolation, match=r"(?s)Xk9-eu.*Yq2-ap"):
        enforce([finding])


def test_what_is_unreachable_is_tried_again_not_refused() -> None:
    """A service that does not answer is no violation."""
    with pytest.raises(TransientError):
        enforce([Finding.of("service token", KeyServiceUnavailable("away"))])


def test_a_bad_credential_is_a_matter_of_configuration() -> None:
    """A wrong setting ends with the code of a wrong setting."""
    with pytest.raises(ConfigError):
        enforce([Finding.of("credentials", ConfigError("CS_CLIENT_ID is not set"))])


def test_each_finding_is_a_gauge() -> None:
    """A pin that matches without authentication shows as one half."""
    metrics = Metrics("eu-central-1")

    export([match("kafka cluster", "a", "a", "", authenticated=False)], metrics)

    labels = {"region": "eu-central-1", "pin": "kafka_cluster"}
    assert metrics.registry.get_sample_value("worker_region_pin", labels) == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "crn:eu-central-1.aws:zvatkw3vhmfg27dy",
        "crn:eu-central-1.gcp:ZVATKW3VHMFG27DY",
        "crn:Mars_1.aws:ZVATKW3VHMFG27DY",
        "crn:eu-central-1.aws:ZVATKW3VHMFG27D",
        "x crn:eu-central-1.aws:ZVATKW3VHMFG27DY",
    ],
)
def test_a_malformed_crn_is_refused(text: str) -> None:
    """Only the whole form of a CRN is taken."""
    with pytest.raises(ConfigError):
        WorkspaceCrn.parse(text)


def test_a_crn_may_name_a_service() -> None:
    """The service part is read and left out."""
    assert str(WorkspaceCrn.parse(f"{CRN}:zerokms")) == CRN
    assert WorkspaceCrn.parse(CRN).region == SYDNEY
