"""What is known of a route's record keys before the first record: their schemas, and what becomes of them."""

from __future__ import annotations

from worker.avro import DeclarationOptions, SchemaSource
from worker.avro.keys import WHOLE_KEY_SCHEMA, KeySchema
from worker.config import RouteSettings
from worker.finding import Finding


def check_keys(schemas: SchemaSource, route: RouteSettings, declaration: DeclarationOptions) -> list[Finding]:
    """
    Return what becomes of a route's keys.

    Raises:
        DeclarationError: a key's schema declares a field and the route writes keys in the clear.
    """
    findings = []
    for known in schemas.key_schemas(route.source.topics):
        schema = KeySchema(known.schema, declaration)
        if route.key == "clear":
            schema.refuse_declarations()
        replaced = ", ".join(f.identity for f in schema.fields) or "the whole key"
        detail = "clear" if route.key == "clear" else f"pseudonym of {replaced}"
        findings.append(Finding(f"key, {known.label} on {route.name}", "ok", found=detail))
    if route.key == "pseudonym" and not findings:
        findings.append(Finding(f"key on {route.name}", "ok", found="pseudonym of the whole key"))
    return findings


def written_key(schemas: SchemaSource, route: RouteSettings, declaration: DeclarationOptions) -> str | None:
    """Return the schema of a route's keys as they are written, None where they are plain text."""
    pseudonym = route.key == "pseudonym"
    known = [KeySchema(k.schema, declaration).written(pseudonym) for k in schemas.key_schemas(route.source.topics)]
    if known:
        return known[-1]
    return WHOLE_KEY_SCHEMA if pseudonym else None
