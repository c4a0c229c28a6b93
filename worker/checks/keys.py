"""What is known of a route's record keys before the first record: their schemas, and what becomes of them."""

from __future__ import annotations

from worker.avro import RegisteredSchema, RegistrySchemas, SchemaRef, SchemaSource
from worker.avro.keys import WHOLE_KEY_SCHEMA, KeySchema
from worker.checks.pins import Finding
from worker.config import RouteSettings, Settings


def local(settings: Settings, schemas: SchemaSource, *, key: bool) -> list[tuple[str, RegisteredSchema]]:
    """Return the schemas of values, or of keys, that the config names, with their number."""
    files = settings.schemas.local
    return [(number, schemas.get(SchemaRef(id=int(number)))) for number, file in files.items() if file.key is key]


def check(settings: Settings, schemas: SchemaSource, route: RouteSettings) -> list[Finding]:
    """
    Return what becomes of a route's keys.

    Raises:
        DeclarationError: a key's schema declares a field and the route writes keys in the clear.
    """
    findings = []
    for name, schema in _known(settings, schemas, route):
        if route.key == "clear":
            schema.refuse_declarations()
        replaced = ", ".join(f.identity for f in schema.fields) or "the whole key"
        detail = "clear" if route.key == "clear" else f"pseudonym of {replaced}"
        findings.append(Finding(f"key, {name} on {route.name}", "ok", found=detail))
    if route.key == "pseudonym" and not findings:
        findings.append(Finding(f"key on {route.name}", "ok", found="pseudonym of the whole key"))
    return findings


def written(settings: Settings, schemas: SchemaSource, route: RouteSettings) -> str | None:
    """Return the schema of a route's keys as they are written, None where they are plain text."""
    known = [schema.written(route.key == "pseudonym") for _, schema in _known(settings, schemas, route)]
    if known:
        return known[-1]
    return WHOLE_KEY_SCHEMA if route.key == "pseudonym" else None


def _known(settings: Settings, schemas: SchemaSource, route: RouteSettings) -> list[tuple[str, KeySchema]]:
    texts = [(f"schema {number}", found.schema) for number, found in local(settings, schemas, key=True)]
    if isinstance(schemas, RegistrySchemas):
        latest = [(topic, schemas.key_schema(topic)) for topic in route.source.topics]
        texts += [(topic, text) for topic, text in latest if text is not None]
    declaration = settings.declaration(route)
    return [(name, KeySchema(text, declaration)) for name, text in texts]
