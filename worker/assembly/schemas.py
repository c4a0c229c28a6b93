"""The schemas of one region's worker: where they come from, and what each route will make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker import environment
from worker.avro import (
    Compatibility,
    DeclarationOptions,
    LocalSchema,
    LocalSchemas,
    RegistrySchemas,
    SchemaSource,
    compile_schema,
    registry_conf,
)
from worker.config import RouteSettings, SchemaSettings
from worker.errors import ConfigError
from worker.model import EncryptionPlan
from worker.pipeline.schemas import subject_of


def open_schemas(settings: SchemaSettings, environ: Mapping[str, str]) -> SchemaSource:
    """
    Open what `[schemas]` names; close it.

    Raises:
        ConfigError: a file can't be read, a secret is missing, or the registry's settings are none that its client has.
    """
    if settings.registry:
        return open_registry(settings, environ, settings.registry, auto_register=settings.auto_register)
    files = {
        int(number): LocalSchema(input=_read(item.input), output_id=item.output_id, key=item.key)
        for number, item in settings.local.items()
    }
    return LocalSchemas(files)


def open_registry(
    settings: SchemaSettings, environ: Mapping[str, str], url: str, *, auto_register: bool
) -> RegistrySchemas:
    """Open a registry with the properties and secrets of `[schemas]`; raises as `open_schemas`."""
    secrets = environment.secrets(environ, settings.secrets, "[schemas]")
    return RegistrySchemas(registry_conf(url, settings.properties, secrets), auto_register=auto_register)


@dataclass(frozen=True, slots=True)
class Planned:
    """
    What a route makes of a schema.

    Args:
        plan: what is encrypted.
        label: what the schema is called.
        topics: where its records come from.
        subject: where the output schema goes; empty where no route was named.
        compatibility: what the registry says of it there; None where no registry was asked.
        warnings: what other tools would refuse in it.
    """

    plan: EncryptionPlan
    label: str = ""
    topics: tuple[str, ...] = ()
    subject: str = ""
    compatibility: Compatibility | None = None
    warnings: tuple[str, ...] = ()


def review(
    schemas: SchemaSource, route: RouteSettings, options: DeclarationOptions, texts: Sequence[str] = ()
) -> Iterator[Planned]:
    """
    Plan schemas as the route would, against the versions that are known of its topics, and register none.

    Args:
        schemas: the region's.
        route: whose topics and output subject count.
        options: the declaration policies.
        texts: new schemas, each judged against every version; none stands for the latest ones.

    Raises:
        DeclarationError: the route would refuse the schema.
        RegistryUnavailable: the registry does not answer.
    """
    subject_of_name = output_subject(route)
    for found in schemas.candidates(route.source.topics, texts):
        version = found.version
        compiled = compile_schema(
            version.schema,
            options,
            references=version.references,
            metadata_tags=version.metadata_tags,
            earlier=found.earlier,
            later=found.later,
        )
        plan = compiled.plan
        subject = subject_of_name(plan.name)
        judged = schemas.compatibility(subject, plan.output_schema)
        yield Planned(plan, version.label, found.topics, subject, judged, compiled.warnings)


def output_subject(route: RouteSettings) -> Callable[[str], str]:
    """Return the function from a record's full name to the subject of its output, of the sink's topic or table."""
    return subject_of(route.subject_strategy, route.sink.subject)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"[schemas.local] input = {path!r} can't be read: {exc.strerror}") from exc
