"""The sections of the settings that no stage owns, and those that narrow a stage's own options."""

from __future__ import annotations

import re
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from worker.avro import DeclarationOptions
from worker.errors import ConfigError
from worker.http_client import url_parts, without_login
from worker.kafka.oauth import OauthOptions
from worker.options import Options, host_and_port
from worker.zerokms.options import WireOptions

# librdkafka also takes a protocol before the host, in capitals.
_BROKER = re.compile(r"([A-Z_]+://)?([\w.-]+|\[[0-9a-fA-F:.%]+\])(:\d{1,5})?")

# mock:// is the client's own, within a process; the pin on hosts refuses it where nobody lists it.
_REGISTRY = re.compile(r"(https?|mock)://[^/]")


def broker_addresses(text: str) -> str:
    """
    Return a cluster's addresses as they are.

    Raises:
        ValueError: one is none; librdkafka would leave it out with a line in its log, and then ask nobody.
    """
    wrong = [place for place in map(str.strip, text.split(",")) if not _BROKER.fullmatch(place)]
    if wrong:
        named = ", ".join(f"{without_login(place)!r}{' with a login' if '@' in place else ''}" for place in wrong)
        raise ValueError(f"{named} is no broker's address: host:port, several with commas")
    return text


def registry_addresses(text: str) -> str:
    """Return a registry's URLs as they are; raises `ValueError` where one is none, and quotes no login of it."""
    wrong = [url for url in map(str.strip, text.split(",")) if not _REGISTRY.match(url)]
    if wrong:
        named = ", ".join(repr(without_login(url)) for url in wrong)
        raise ValueError(f"{named} is no registry's URL: http:// or https://, its host, port and path")
    for url in map(str.strip, text.split(",")):
        _is_address(url, "a registry's URL")
    return text


def _is_address(url: str, what: str) -> None:
    try:
        url_parts(url, what)
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc


class AuthorityClientSettings(WireOptions):
    """`[authority.client]`: how the key service is spoken to."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_moved(cls, values: Any) -> Any:
        moved = [name for name in ("keys_per_request", "requests_in_flight") if name in values]
        if moved:
            raise ValueError(f"{', '.join(moved)}: set it under [keys], for the client and the caches alike")
        return values


class AuthoritySettings(Options):
    """`[authority]`: where the key service is; credentials come from `CS_*`."""

    workspace_crn: str | None = None
    """The workspace, `crn:<region>.aws:<workspace>`, where `CS_WORKSPACE_CRN` does not name it."""
    allow_hosts: tuple[str, ...] = ()
    """`host:port` (or `host`) that may stand in for the region's own hosts."""
    cts_host: str | None = None
    """CTS's URL, where `CS_CTS_HOST` does not name it; counts as listed in `allow_hosts`."""
    zerokms_host: str | None = None
    """ZeroKMS's URL, where `CS_ZEROKMS_HOST` does not name it; counts as listed in `allow_hosts`."""
    client: AuthorityClientSettings = AuthorityClientSettings()
    """How the key service is spoken to."""

    @field_validator("cts_host", "zerokms_host")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None:
            _is_address(url, "the address")
        return url

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that the file lets stand in for the region's own."""
        named = (self.cts_host, self.zerokms_host)
        return (*self.allow_hosts, *(urlsplit(url).netloc for url in named if url))


class KafkaSettings(Options):
    """`[kafka]`: the region's cluster."""

    bootstrap: str
    """The cluster's addresses."""
    cluster_id: str
    """The cluster's id, a pin: another cluster is refused."""
    properties: dict[str, str] = Field(default_factory=dict)
    """librdkafka's properties; those that the worker owns are refused by name."""
    secrets: dict[str, str] = Field(default_factory=dict)
    """A librdkafka property to the variable that holds it."""
    oauth: OauthOptions | None = None
    """Supplies access tokens for OAUTHBEARER."""

    @field_validator("bootstrap")
    @classmethod
    def _is_addresses(cls, text: str) -> str:
        return broker_addresses(text)


class LocalSchemaFile(Options):
    """One schema id that needs no registry."""

    input: str
    """The file of the schema."""
    output_id: int = Field(ge=0, le=0xFFFF_FFFF)
    """The id that its output carries."""
    key: bool = False
    """Whether it is a schema of record keys."""


class SchemaSettings(Options):
    """`[schemas]`: a registry's URL, or local files by id."""

    registry: str | None = None
    """The registry's URL, several by commas; instead of `local`. Its host bears the region's name as a label."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that may stand in for one named by region."""
    local: dict[str, LocalSchemaFile] = Field(default_factory=dict)
    """Schema id to its file, without a registry."""
    auto_register: bool = True
    """Register output schemas; otherwise they must be there already."""
    required: tuple[str, ...] = ()
    """Identities that must be encrypted in every schema of their record."""
    properties: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Properties of the registry's client, as `basic.auth.credentials.source`."""
    secrets: dict[str, str] = Field(default_factory=dict)
    """A property of the registry's client to the variable that holds it."""

    @field_validator("registry")
    @classmethod
    def _is_urls(cls, text: str | None) -> str | None:
        return None if text is None else registry_addresses(text)


_SET_ELSEWHERE = {
    "required": "set [schemas] required instead",
    "already_encrypted": "set the route's already_encrypted instead",
    "clear": "set the route's clear instead",
}


class EncryptionSettings(DeclarationOptions):
    """`[encryption]`: the defaults and policies of declarations."""

    @model_validator(mode="after")
    def _refuse_others(self) -> Self:
        for name, remedy in _SET_ELSEWHERE.items():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: {remedy}")
        return self


class HttpSettings(Options):
    """`[http]`: where `/metrics`, `/healthz`, `/readyz`, `/status` and the control are served."""

    listen: str = "0.0.0.0:9464"
    """Address and port."""
    token_env: str | None = None
    """Variable with the bearer token that opens `/status` and the control to other machines; else loopback alone."""

    @field_validator("listen")
    @classmethod
    def _is_host_and_port(cls, text: str) -> str:
        host_and_port(text)
        return text


class ProcessSettings(Options):
    """`[processes]`: what `worker run --processes N` does when one of them crashes."""

    restart_s: float = Field(1, gt=0, le=600)
    """Pause before it is started again; doubles with each crash within the window."""
    max_restart_s: float = Field(30, gt=0, le=600)
    """Longest pause."""
    max_restarts: int = Field(5, ge=0, le=1_000)
    """Of one process within the window; one crash more ends the whole."""
    window_s: float = Field(600, gt=0, le=86_400)
    """How long a crash is remembered."""
