"""The schemas of one region's worker: where they come from, and what each route will make of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker import environment
from worker.avro import (
    Compatibility,
    DeclarationOptions,
    LocalSchema,
    LocalSchemas,
    SchemaRef,
    SchemaSource,
    compile_once,
    compile_schema,
)
from worker.errors import DeclarationError
from worker.model import EncryptionPlan
from worker.textfile import read_text

if TYPE_CHECKING:
    from worker.avro import RegistrySchemas
    from worker.config import RouteSettings, SchemaSettings, Settings


def open_schemas(settings: SchemaSettings, environ: Mapping[str, str]) -> SchemaSource:
    """
    Open what `[schemas]` names; close it.

    Raises:
        ConfigError: a file can't be read, a secret is missing, or the registry's settings are none that its client has.
    """
    if settings.registry:
        return open_registry(settings, environ, settings.registry, auto_register=settings.auto_register)
    files = {}
    for number, item in settings.local.items():
        text = read_text(item.input, f"[schemas.local] input = {item.input!r}")
        files[int(number)] = LocalSchema(text, item.output_id, item.key, item.input)
    return LocalSchemas(files)


def open_registry(
    settings: SchemaSettings, environ: Mapping[str, str], url: str, *, auto_register: bool
) -> RegistrySchemas:
    """Open a registry with the properties and secrets of `[schemas]`; raises as `open_schemas`."""
    secrets = environment.secrets(environ, settings.secrets, "[schemas]")
    # Here, since importing it takes longer than all else that many commands do.
    from worker.avro import RegistrySchemas, registry_conf

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
        try:
            compiled = compile_once(version, options, earlier=found.earlier, later=found.later)
        except DeclarationError as exc:
            raise DeclarationError(f"{version.label}: {exc}", path=exc.path) from exc
        plan = compiled.plan
        subject = subject_of_name(plan.name)
        judged = schemas.compatibility(subject, plan.output_schema)
        yield Planned(plan, version.label, found.topics, subject, judged, compiled.warnings)


def output_schemas(settings: Settings, environ: Mapping[str, str]) -> dict[int, str]:
    """Return the output schemas of `[schemas.local]` by the ids that they carry, as the first route writes them."""
    declaration = settings.declaration(settings.routes[0])
    with contextlib.closing(open_schemas(settings.schemas, environ)) as schemas:
        found = {}
        for number, item in settings.schemas.local.items():
            if not item.key:
                known = schemas.get(SchemaRef(int(number)))
                plan = compile_schema(known.schema, declaration, later=known.later).plan
                found[item.output_id] = plan.output_schema
    return found


def output_subject(route: RouteSettings) -> Callable[[str], str]:
    """Return the function from a record's full name to the subject of its output, of the sink's topic or table."""
    # Here as above: a plan of a file has no route.
    from worker.pipeline.schemas import subject_of

    return subject_of(route.subject_strategy, route.sink.subject)
