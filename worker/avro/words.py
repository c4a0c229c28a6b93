"""Avro's own words for types, and its rule for names."""

import re

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
COMPLEX = frozenset({"record", "enum", "fixed", "array", "map"})
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

_STAMPS = tuple(f"{place}timestamp-{unit}" for place in ("", "local-") for unit in ("millis", "micros", "nanos"))
LOGICAL = {
    "int": ("date", "time-millis"),
    "long": ("time-micros", *_STAMPS),
    "bytes": ("decimal", "big-decimal"),
    "string": ("uuid",),
    "fixed": ("duration",),
}
"""The logical types that each base carries of itself; a fixed of the right size carries a decimal or a uuid, too."""
