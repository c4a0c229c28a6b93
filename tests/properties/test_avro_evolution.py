"""An evolution of the input that readers survive is one that readers of the output survive."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.avro import DeclarationOptions, compile_schema, encode_value

KINDS: list[tuple[Any, Any]] = [
    ("string", "old default"),
    ("int", 7),
    (["null", "string"], None),
    (["string", "null"], "old default"),
    (["null", "int", "string"], None),
    ({"type": "array", "items": "string"}, []),
]
SAMPLES: dict[str, Any] = {"string": "x", "int": 3}


def sample(kind: Any) -> Any:
    if isinstance(kind, list):
        return sample(next(k for k in kind if k != "null"))
    return ["y"] if isinstance(kind, dict) else SAMPLES[kind]


@st.composite
def versions(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    """Two versions of one record in which every field has a default, so either may lack any."""
    fields = []
    for number, (kind, default) in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))):
        said: dict[str, Any] = draw(st.sampled_from([{}, {"encrypted": True}, {"encrypted": {"null": "encrypt"}}]))
        fields.append({"name": f"f{number}", "type": kind, "default": default, **said})
    found = []
    for _ in range(2):
        chosen = [f for f in draw(st.permutations(fields)) if draw(st.booleans())]
        text = json.dumps({"type": "record", "name": "R", "fields": chosen})
        found.append((text, {f["name"]: sample(f["type"]) for f in chosen}))
    return found


@settings(max_examples=200, deadline=None)
@given(versions())
def test_output_resolves_where_the_input_does(pair: list[tuple[str, dict[str, Any]]]) -> None:
    """Output of either version reads with the other's output schema, and no clear default takes an envelope's place."""
    compiled = [compile_schema(text, DeclarationOptions()) for text, _ in pair]
    for writer, reader in ((0, 1), (1, 0)):
        split = compiled[writer].split([encode_value(*pair[writer])], [None])
        output = split.join([[b"\x01envelope" for _ in c.values] for c in split.columns])[0]
        assert output is not None

        row = fastavro.schemaless_reader(
            io.BytesIO(output),
            json.loads(compiled[writer].plan.output_schema),
            json.loads(compiled[reader].plan.output_schema),
        )

        covered = {f.identity.removeprefix("R/") for f in compiled[reader].plan.fields}
        assert isinstance(row, dict)
        # fastavro hands a bytes default out as the schema's text.
        assert all(row[name] in (b"\x01envelope", b"", "", None) for name in covered)
