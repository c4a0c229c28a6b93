"""How a region's Kafka cluster and its authority are reached: the one way, for every command."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from worker import environment
from worker.config import KafkaSettings, Settings
from worker.errors import ConfigError
from worker.http_client import is_loopback, require_https
from worker.kafka.oauth import OauthTokens
from worker.kafka.properties import Property, connection_properties
from worker.metrics import Metrics
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.factory import client_from_environment
from worker.zerokms.options import ClientOptions

# SCRAM and Kerberos prove a secret without sending it.
_SENT_AS_THEY_ARE = ("PLAIN", "OAUTHBEARER")


def kafka_connection(
    settings: KafkaSettings, environ: Mapping[str, str], *, overrides: Mapping[str, str] | None = None
) -> dict[str, Property]:
    """
    Return what every client of the region's cluster is told, secrets and the supply of access tokens included.

    Args:
        settings: `[kafka]`.
        environ: where the secrets are.
        overrides: properties of one command, over the settings'.

    Raises:
        ConfigError: a property, a secret or the first token can't be used.
        SourceUnavailable: the command that gives tokens fails.
    """
    secrets = environment.secrets(environ, settings.secrets, "[kafka]")
    tokens = OauthTokens(settings.oauth) if settings.oauth is not None else None
    if tokens is not None:
        tokens.read()
    properties = {**settings.properties, **secrets, **(overrides or {})}
    return checked_connection(settings.bootstrap, properties, tokens)


def checked_connection(
    bootstrap: str, properties: Mapping[str, Property], tokens: OauthTokens | None = None
) -> dict[str, Property]:
    """Return `connection_properties`; raises `ConfigError` besides where credentials would leave in the clear."""
    endpoint = properties.get("sasl.oauthbearer.token.endpoint.url")
    if endpoint is not None:
        require_https(str(endpoint), "[kafka] sasl.oauthbearer.token.endpoint.url")
    protocol = str(properties.get("security.protocol", "")).strip().upper()
    mechanism = str(properties.get("sasl.mechanisms", properties.get("sasl.mechanism", ""))).strip().upper()
    if protocol == "SASL_PLAINTEXT" and mechanism in _SENT_AS_THEY_ARE:
        for address in bootstrap.split(","):
            if not is_loopback(urlsplit(f"//{address.rpartition('://')[2].strip()}").hostname or ""):
                raise ConfigError(
                    f"[kafka] {mechanism} over SASL_PLAINTEXT sends credentials to {address.strip()} in the clear; "
                    "use SASL_SSL"
                )
    return connection_properties(bootstrap, properties, tokens=tokens)


def authority_client(
    settings: Settings, environ: Mapping[str, str], *, metrics: Metrics | None = None
) -> ZeroKMSClient:
    """Return a client of the region's authority; raises `ConfigError` or `RegionViolation`."""
    authority, keys = settings.authority, settings.keys
    options = ClientOptions(
        **authority.client.model_dump(),
        keys_per_request=keys.keys_per_request,
        requests_in_flight=keys.requests_in_flight,
    )
    hosts = {"CS_CTS_HOST": authority.cts_host, "CS_ZEROKMS_HOST": authority.zerokms_host}
    return client_from_environment(
        environment.with_defaults(environ, hosts),
        crn=authority.workspace_crn,
        allow_hosts=authority.hosts,
        options=options,
        metrics=metrics,
    )
