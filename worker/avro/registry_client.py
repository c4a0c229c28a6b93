"""The registry's own client, held to what the operator was told: whom it asks, through what, and what it trusts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka.schema_registry import SchemaRegistryClient

from worker.errors import ConfigError
from worker.http_client import proxy_address, require_https

# Of the registry's client: it waits without end, and its own retries would hide an outage from the route.
_DEFAULTS: Mapping[str, Any] = {"timeout": 10.0, "max.retries": 0}
_CREDENTIALS = ("basic.auth.", "bearer.auth.")


@dataclass(frozen=True, slots=True)
class OpenedRegistry:
    """The client, the URLs that it really asks (none in this very process), and the proxy that it was named."""

    client: Any
    addresses: tuple[str, ...]
    proxy: str | None


def registry_conf(url: str, properties: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """
    Join a registry's address with the operator's properties of its client.

    Raises:
        ConfigError: a property is the worker's own; the message names it and the remedy.
    """
    said = {**properties, **secrets}
    if "url" in said:
        raise ConfigError("[schemas] properties: url can't be set there; set [schemas] registry, which is pinned")
    return {**said, "url": url}


def open_registry(conf: Mapping[str, Any]) -> OpenedRegistry:
    """
    Open a registry's client; nothing is asked yet.

    Args:
        conf: the client's own keys, `url` among them.

    Raises:
        ConfigError: a key or its value is none of the client's, switches verification off, or would send credentials
            over plain http.
    """
    authority = conf.get("ssl.ca.location")
    if authority is not None and not isinstance(authority, str):
        raise ConfigError(
            "[schemas] properties: ssl.ca.location is the path of a CA; verification can't be switched off"
        )
    if conf.get("proxy"):
        try:
            proxy_address(str(conf["proxy"]))
        except ValueError as exc:
            raise ConfigError(f"[schemas] properties: proxy: {exc}") from exc
    try:
        # `new_client` also knows the in-process registry (`mock://`).
        client: Any = SchemaRegistryClient.new_client({**_DEFAULTS, **conf})
    except (ValueError, TypeError, OSError) as exc:
        raise ConfigError(f"[schemas] registry: {exc}") from exc
    rest = client._rest_client
    addresses = tuple(url for url in rest.base_urls if not url.startswith("mock://"))
    _refuse_leaks(addresses, conf)
    _forget_environment(rest)
    return OpenedRegistry(client, addresses, rest.proxy)


def _forget_environment(rest: Any) -> None:
    """Take the environment's proxies from what holds credentials; the registry's client has no option for that."""
    rest.session.close()
    # Of its own kind: it may bring another HTTP library than ours, and looks at the types of what comes back.
    rest.session = type(rest.session)(
        verify=rest.verify, auth=rest.auth, proxy=rest.proxy, timeout=rest.timeout, trust_env=False
    )
    issuer = getattr(rest.bearer_field_provider, "client", None)
    if issuer is not None:
        issuer._mounts.clear()


def _refuse_leaks(addresses: tuple[str, ...], conf: Mapping[str, Any]) -> None:
    if any("@" in urlsplit(url).netloc for url in addresses):
        raise ConfigError("[schemas] registry: credentials stand under [schemas] secrets, as basic.auth.user.info")
    if any(name.startswith(_CREDENTIALS) for name in conf):
        for url in addresses:
            require_https(url, "[schemas] registry, which is asked with credentials,")
    issuer = conf.get("bearer.auth.issuer.endpoint.url")
    if issuer is not None:
        require_https(str(issuer), "[schemas] bearer.auth.issuer.endpoint.url")
