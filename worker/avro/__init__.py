"""Schemas: what they declare, where the declared bytes lie in a record, and what comes out."""

from typing import TYPE_CHECKING

from worker import lazy
from worker.avro.batch import SplitBatch
from worker.avro.codec import CompiledSchema, compile_once, compile_schema, schema_fingerprint
from worker.avro.declaration import DeclarationOptions, FieldOptions, is_reserved
from worker.avro.decode import decode_value, decode_values
from worker.avro.encode import encode_value
from worker.avro.frame import SchemaRef, frame, parse_frame
from worker.avro.history import SchemaVersion
from worker.avro.native import slot_of
from worker.avro.opened import OutputSchema, open_schema
from worker.avro.source import Candidate, Compatibility, LocalSchema, LocalSchemas, RegisteredSchema, SchemaSource

if TYPE_CHECKING:
    from worker.avro.registry import RegistrySchemas
    from worker.avro.registry_client import registry_conf

__all__ = [
    "Candidate",
    "Compatibility",
    "CompiledSchema",
    "DeclarationOptions",
    "FieldOptions",
    "LocalSchema",
    "LocalSchemas",
    "OutputSchema",
    "RegisteredSchema",
    "RegistrySchemas",
    "SchemaRef",
    "SchemaSource",
    "SchemaVersion",
    "SplitBatch",
    "compile_once",
    "compile_schema",
    "decode_value",
    "decode_values",
    "encode_value",
    "frame",
    "is_reserved",
    "open_schema",
    "parse_frame",
    "registry_conf",
    "schema_fingerprint",
    "slot_of",
]

# The registry's client is the slowest import of all, and few commands need it.
__getattr__ = lazy.parts(
    __name__,
    {"RegistrySchemas": "worker.avro.registry", "registry_conf": "worker.avro.registry_client"},
)
