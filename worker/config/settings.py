"""Everything one region's worker is told: the sections nested."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.avro import DeclarationOptions
from worker.config.route import RouteSettings
from worker.config.sections import (
    AuthoritySettings,
    EncryptionSettings,
    HttpSettings,
    KafkaSettings,
    ProcessSettings,
    SchemaSettings,
)
from worker.pipeline.options import DeadLetterOptions, DeliveryOptions
from worker.zerokms.keys import KeyOptions

PREFIX = "WORKER_"
"""What the variables begin with that are settings."""


class Settings(BaseSettings):
    """Everything one region's worker is told."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
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
