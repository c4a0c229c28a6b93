"""
Coverage-guided fuzzing of the decoder: `python -m tests.fuzz.avro_decoder tests/fuzz/avro_corpus -max_total_time=60`.

Whatever the bytes, a record splits or is a record error; what splits is joined, opened and restored.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["worker.avro"]):
    from worker.avro import DeclarationOptions, compile_schema, open_schema
from worker.errors import RecordError

SCHEMAS = [path.read_text() for path in sorted(Path("schemas").glob("*.avsc"))]
COMPILED = [compile_schema(text, DeclarationOptions()) for text in SCHEMAS]
OPENED = [open_schema(compiled.plan.output_schema) for compiled in COMPILED]


def one(data: bytes) -> None:
    """The first byte chooses the schema, the rest is the datum."""
    if not data:
        return
    which, datum = data[0] % len(COMPILED), data[1:]
    split = COMPILED[which].split([datum], [b"k"])
    assert all(isinstance(error, RecordError) for error in split.errors.values())
    output = split.join([[b"\x01" + v for v in c.values] for c in split.columns])[0]
    if output is not None:
        back = OPENED[which].split([output], [b"k"])
        restored = back.join([[v[1:] for v in c.values] for c in back.columns])[0]
        assert restored is not None
        assert not COMPILED[which].split([restored], [b"k"]).errors
    assert all(isinstance(error, RecordError) for error in OPENED[which].split([datum], [b"k"]).errors.values())


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
