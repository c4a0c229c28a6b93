"""The schemas of one region's worker: where they come from, and what each route will make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.avro import (
    Compatibility,
    DeclarationOptions,
    LocalSchema,
    LocalSchemas,
    RegistrySchemas,
    SchemaSource,
    SchemaVersion,
    compile_schema,
    registry_conf,
)
from worker.config import RouteSettings, Settings
from worker.environment import require
from worker.errors import ConfigError
from worker.model import EncryptionPlan
from worker.pipeline.batch import subject_of
from worker.sink.kafka import KafkaSinkOptions


def open_schemas(settings: Settings, environ: Mapping[str, str]) -> SchemaSource:
    """
    Open what `[schemas]` names; close it.

    Raises:
        ConfigError: a file can't be read, a secret is missing, or the registry's settings are none that its client has.
    """
    schemas = settings.schemas
    if not schemas.registry:
        files = {
            int(number): LocalSchema(input=_read(item.input), output_id=item.output_id, key=item.key)
            for number, item in schemas.local.items()
        }
        return LocalSchemas(files)
    secrets = {name: require(environ, var, f"[schemas] secrets: {name}") for name, var in schemas.secrets.items()}
    conf = registry_conf(schemas.registry, schemas.properties, secrets)
    return RegistrySchemas(conf, auto_register=schemas.auto_register)


@dataclass(frozen=True, slots=True)
class Planned:
    """
    What a route makes of a schema.

    Args:
        plan: what is encrypted.
        topic: where its records come from; empty where none was named.
        subject: where the output schema goes.
        compatibility: what the registry says of it there; None where no registry was asked.
    """

    plan: EncryptionPlan
    topic: str = ""
    subject: str = ""
    compatibility: Compatibility | None = None


def review(
    schemas: RegistrySchemas, route: RouteSettings, options: DeclarationOptions, texts: Sequence[str] = ()
) -> Iterator[Planned]:
    """
    Plan schemas as the route would, against the versions of its topics' subjects (`<topic>-value`), and registers none.

    Args:
        schemas: the region's registry.
        route: whose topics and output subject count.
        options: the declaration policies.
        texts: new schemas, each judged against every version; none stands for the latest version of each topic.

    Raises:
        DeclarationError: the route would refuse the schema.
        RegistryUnavailable: the registry does not answer.
    """
    for topic in route.source.topics:
        known = schemas.versions(f"{topic}-value")
        candidates = [(SchemaVersion(text), known) for text in texts] or [(v, known[:-1]) for v in known[-1:]]
        for version, earlier in candidates:
            plan = compile_schema(
                version.schema,
                options,
                references=version.references,
                metadata_tags=version.metadata_tags,
                earlier=earlier,
            ).plan
            subject = output_subject(route)(plan.name)
            yield Planned(plan, topic, subject, schemas.compatibility(subject, plan.output_schema))


def output_subject(route: RouteSettings) -> Callable[[str], str]:
    """Return the function from a record's full name to the subject of its output, of the sink's topic or table."""
    sink = route.sink
    return subject_of(route.subject_strategy, sink.topic if isinstance(sink, KafkaSinkOptions) else sink.all_tables[0])


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"[schemas.local] input = {path!r} can't be read: {exc.strerror}") from exc
