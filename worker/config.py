"""
The settings of one region's worker: command line > environment (`WORKER_KEYS__MAX_AGE_S`) > TOML file.

Every stage owns its options; this module nests them and names each wrong value with its place. Secrets are no
settings: a setting holds the *name* of the environment variable that holds the secret (or its `NAME_FILE`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

from worker.avro import DeclarationOptions
from worker.errors import ConfigError
from worker.kafka.oauth import OauthOptions
from worker.options import Options
from worker.pipeline.keys import KeyFormat, KeyPolicy
from worker.pipeline.options import DeadLetterOptions, DeliveryOptions, ResidencyOptions
from worker.sink.kafka import KafkaSinkOptions
from worker.sink.postgres import PostgresSinkOptions
from worker.source.options import SourceOptions
from worker.zerokms.client import WireOptions
from worker.zerokms.keys import KeyOptions

_PREFIX = "WORKER_"
_NOT_SETTINGS = {"WORKER_INSTANCE", "WORKER_NATIVE", "WORKER_REQUIRE_NATIVE"}

SinkOptions = Annotated[KafkaSinkOptions | PostgresSinkOptions, Field(discriminator="kind")]


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
    client: AuthorityClientSettings = AuthorityClientSettings()
    """How the key service is spoken to."""


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


class RouteSettings(Options):
    """`[[routes]]`: one source, one sink, one consumer group, one loop."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """The route's name, in metrics, logs and dead letters."""
    group: str = Field(min_length=1)
    """Its consumer group, which no other route has."""
    source: SourceOptions
    """Where records come from."""
    sink: SinkOptions
    """Where they go: `kind = "kafka"` or `kind = "postgres"`."""
    residency: ResidencyOptions | None = None
    """Which region a record's data subject belongs to; None takes every record for this region's."""
    already_encrypted: Literal["refuse", "pass"] = "refuse"
    """`pass` lets a field that is encrypted already go through, once its envelope opens; else it is refused."""
    verify: Literal["open", "none"] = "open"
    """
    Of `already_encrypted = "pass"`: `open` opens every envelope; `none` looks at form, descriptor and keyset alone, and
    what passes is not counted as encrypted.
    """
    key: KeyPolicy = "clear"
    """
    `clear` writes keys as they are; `pseudonym` replaces what a key's schema declares, and a key without
    declarations or schema as a whole.
    """
    key_format: KeyFormat = "auto"
    """`avro` keys are framed by a schema id, `plain` ones are not, `auto` tells by itself."""
    subject_strategy: Literal["topic", "record", "topic-record"] = "topic"
    """How output subjects are named: `topic`, `record` or `topic-record`."""
    clear: tuple[str, ...] = ()
    """Names of records whose schemas may declare nothing; any other schema without a declaration is refused."""


class Settings(BaseSettings):
    """Everything one region's worker is told."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    region: str
    """The region's name; the workspace must be of it."""
    kafka: KafkaSettings
    """The region's cluster."""
    authority: AuthoritySettings = AuthoritySettings()
    """Where the key service is."""
    schemas: SchemaSettings = SchemaSettings()
    """Where schemas come from."""
    encryption: EncryptionSettings = EncryptionSettings()
    """The defaults and policies of declarations."""
    keys: KeyOptions = KeyOptions()
    """How long and how many keys are held."""
    delivery: DeliveryOptions = DeliveryOptions()
    """The promise, and what bounds a batch."""
    dead_letters: DeadLetterOptions = DeadLetterOptions()
    """How failed records are sealed, and how many may fail."""
    http: HttpSettings = HttpSettings()
    """Where metrics and health are served."""
    processes: ProcessSettings = ProcessSettings()
    """What becomes of processes that crash."""
    routes: tuple[RouteSettings, ...] = Field(min_length=1)
    """What the worker does; one or more."""

    def declaration(self, route: RouteSettings) -> DeclarationOptions:
        """Return the declaration policies as one route sees them."""
        values = {
            "required": self.schemas.required,
            "already_encrypted": route.already_encrypted,
            # A key that becomes a pseudonym is a declaration too.
            "clear": None if route.key == "pseudonym" else route.clear,
        }
        return self.encryption.model_copy(update=values)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keep the file (given as init values by `load`) below the environment; nothing else is read."""
        return env_settings, init_settings


def load(path: Path, *, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Settings:
    """
    Read the settings.

    Args:
        path: the TOML file.
        environ: the environment; only names with the prefix `WORKER_` are settings.
        overrides: values of the command line, nested as in the file; they win.

    Raises:
        ConfigError: a value is wrong, missing or unknown; the message has a line for each, with its place.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: is not TOML: {exc}") from exc
    _refuse_unknown_variables(environ)
    merged = _merge(_merge(values, _from_environment(environ)), overrides or {})
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as exc:
        raise ConfigError(f"{path}:\n{describe(exc)}") from None
    _cross_check(path, settings)
    return settings


def describe(error: ValidationError) -> str:
    """Write one line per wrong value: its place and what was expected, never the value."""
    return "\n".join(
        f"  {'.'.join(str(part) for part in item['loc']) or '(whole file)'}: {item['msg']}"
        for item in error.errors(include_input=False, include_url=False)
    )


_SERVICE_HOST = "_SERVICE_HOST"
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Whether a variable is one that Kubernetes gives every pod of a namespace with a Service called `worker...`."""
    services = (host.removesuffix(_SERVICE_HOST) for host in environ if host.endswith(_SERVICE_HOST))
    return any(name.startswith(s) and _SERVICE_LINK.fullmatch(name.removeprefix(s)) for s in services)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    class Source(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {name.lower(): value for name, value in environ.items()}

    return Source(Settings)()


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    for name in environ:
        if name.startswith(_PREFIX) and name not in _NOT_SETTINGS and not _is_service_link(name, environ):
            head = name.removeprefix(_PREFIX).split("__")[0].lower()
            if head not in Settings.model_fields:
                raise ConfigError(f"environment variable {name}: there is no setting {head!r}")


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _cross_check(path: Path, settings: Settings) -> None:
    if bool(settings.schemas.registry) == bool(settings.schemas.local):
        raise ConfigError(
            f'{path}:\n  schemas: give either registry = "https://..." or [schemas.local], not both or none'
        )
    for kind in ("name", "group"):
        seen = [getattr(route, kind) for route in settings.routes]
        twice = sorted({value for value in seen if seen.count(value) > 1})
        if twice:
            raise ConfigError(
                f"{path}:\n  routes: {kind} {', '.join(map(repr, twice))} is used twice; a route has its own"
            )
    for name in settings.schemas.local:
        if not name.isdigit():
            raise ConfigError(f"{path}:\n  schemas.local.{name}: the key is a schema id, a whole number")
