"""
kafka-python, for the few requests that librdkafka does not know, or aborts the process at.

Its clients are made for one occasion, on threads that nobody waits for.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.errors import ConfigError, SourceUnavailable
from worker.kafka.properties import Property

if TYPE_CHECKING:
    from kafka.admin import KafkaAdminClient

_SCRAM_OR_PLAIN = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_KNOWN = frozenset(
    {
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.password",
        "sasl.username",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.endpoint.identification.algorithm",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.key.pem",
        "enable.ssl.certificate.verification",
    }
)
"""The properties of security that have the same meaning here; with any other one the group is left alone."""
_TIMEOUT_MS = 2_000


def require(what: str) -> None:
    """
    Refuse where kafka-python is not installed, before anything relies on it.

    Args:
        what: relies on it, as a setting or an option is called.

    Raises:
        ConfigError: it is not there, or too old; says what to install.
    """
    try:
        import kafka.net.compat  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"{what} needs kafka-python, 3.0 or newer, and this environment has none: install the worker anew with its "
            "dependencies, or pip install 'kafka-python>=3.0'"
        ) from None


def admin_client(connection: Mapping[str, Property]) -> KafkaAdminClient:
    """
    Return a client that has met the cluster; its user closes it.

    Args:
        connection: what `worker.kafka.properties.connection_properties` returned.

    Raises:
        ConfigError: kafka-python is not installed.
        SourceUnavailable: it has no equal for a property, or no broker answers.
    """
    require("asking for a consumer group")
    from kafka.admin import KafkaAdminClient  # here and below: most workers never ask
    from kafka.net.compat import KafkaNetClient

    # What fails is said once, by the error; the library says each of its attempts.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    spoken = as_spoken(connection)
    made: list[KafkaNetClient] = []

    def net(**configuration: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**configuration))
        return made[-1]

    try:
        return KafkaAdminClient(**spoken, kafka_client=net)
    except Exception as exc:
        # One that meets nobody leaves its thread behind (3.0).
        for each in made:
            each.close()
        raise SourceUnavailable(f"no broker takes the request: {type(exc).__name__}") from None


def as_spoken(connection: Mapping[str, Property]) -> dict[str, Any]:
    """
    Return librdkafka's properties as kafka-python's configuration: never less strict, or not at all.

    Raises:
        SourceUnavailable: one has no equal here; names it.
    """
    security = ("sasl.", "ssl.", "enable.ssl.", "enable.sasl.")
    strange = [name for name in connection if name.startswith(security) and name not in _KNOWN]
    if strange:
        raise SourceUnavailable(f"kafka-python has no equal for {', '.join(sorted(strange))}")
    protocol = str(connection.get("security.protocol", "PLAINTEXT")).strip().upper()
    addresses = str(connection["bootstrap.servers"]).split(",")
    spoken: dict[str, Any] = {
        "bootstrap_servers": [address.rpartition("://")[2].strip() for address in addresses],
        "security_protocol": protocol,
        "request_timeout_ms": _TIMEOUT_MS,
        "bootstrap_timeout_ms": _TIMEOUT_MS,
    }
    if "SSL" in protocol.split("_"):
        spoken["ssl_context"] = _context(connection)
    if protocol.startswith("SASL_"):
        spoken |= _credentials(connection)
    return spoken


def _credentials(connection: Mapping[str, Property]) -> dict[str, Any]:
    mechanism = str(connection.get("sasl.mechanisms", connection.get("sasl.mechanism", ""))).strip().upper()
    tokens = connection.get("oauth_cb")
    if mechanism in _SCRAM_OR_PLAIN:
        name, password = (str(connection.get(f"sasl.{what}", "")) for what in ("username", "password"))
        return {"sasl_mechanism": mechanism, "sasl_plain_username": name, "sasl_plain_password": password}
    if mechanism == "OAUTHBEARER" and callable(tokens):
        return {"sasl_mechanism": mechanism, "sasl_oauth_token_provider": _provider(tokens)}
    raise SourceUnavailable(f"kafka-python has no equal for sasl.mechanisms {mechanism or 'GSSAPI'} as it is set")


def _provider(tokens: Callable[[str], tuple[str, float]]) -> object:
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]
        def token(self) -> str:
            return tokens("")[0]

    return Provider()


def _context(connection: Mapping[str, Property]) -> ssl.SSLContext:
    told = {name: str(value) for name, value in connection.items() if name.startswith(("ssl.", "enable.ssl"))}
    where = told.get("ssl.ca.location", "probe")
    place, pem = None if where == "probe" else Path(where), told.get("ssl.ca.pem")
    try:
        context = ssl.create_default_context(
            cafile=str(place) if place and not place.is_dir() else None,
            capath=str(place) if place and place.is_dir() else None,
            cadata=pem,
        )
        context.check_hostname = told.get("ssl.endpoint.identification.algorithm", "https").lower() != "none"
        if told.get("enable.ssl.certificate.verification", "true").lower() == "false":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        certificate, key = (_text(told, f"ssl.{what}") for what in ("certificate", "key"))
        if certificate:
            _load(context, f"{certificate}\n{key}", told.get("ssl.key.password"))
    except (OSError, ValueError) as exc:
        raise SourceUnavailable(f"the certificates can't be used here: {type(exc).__name__}") from None
    return context


def _text(told: Mapping[str, str], name: str) -> str:
    if f"{name}.pem" in told:
        return told[f"{name}.pem"]
    return Path(told[f"{name}.location"]).read_text(encoding="ascii") if f"{name}.location" in told else ""


def _load(context: ssl.SSLContext, pem: str, password: str | None) -> None:
    """Give a certificate and its key: the call takes a file alone, and this one is no file of any disk."""
    handle = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(handle, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{handle}", password=password)
    finally:
        os.close(handle)
