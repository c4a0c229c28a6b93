"""Hypothesis strategies: whole tables with what stands on them, the records that go there, and the role that writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from worker.model import Position, SinkRecord
from worker.model.rows import ColumnType, Row, RowType

SETUP = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE COLLATION IF NOT EXISTS ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION IF NOT EXISTS accentless (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE DOMAIN filled AS int NOT NULL;
CREATE DOMAIN word AS text CHECK (value <> 'odd');
CREATE FUNCTION raising() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN IF NEW.f0::text COLLATE "C" LIKE '%1%' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN IF NEW.f0 IS NULL THEN RAISE EXCEPTION 'no'; END IF; RETURN NULL; END $$;
"""
# Texts of which some are equal to some column's type, and to no other.
WORDS = st.sampled_from(
    ["a", "A", "a ", "á", "b", "1", "1.0", "01", "1e0", "", "odd", "zz", "abcdef", "10.0.0.1"]
) | st.text(max_size=2)
UUIDS = st.sampled_from(["de2df598-9948-4988-b00a-a41c0e287398", "DE2DF598-9948-4988-B00A-A41C0E287398", "nonsense"])
STAMPS = st.sampled_from(["2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00", "2026-01-02T03:04:05"])
NUMBERS = st.integers(-3, 12) | st.sampled_from([1000, 2**31 - 1])
# By Avro type: values, and the SQL types that may stand for it.
KINDS: dict[str, tuple[ColumnType, st.SearchStrategy[Any], tuple[str, ...]]] = {
    "int": (
        ColumnType("", "int"),
        NUMBERS,
        ("integer", "bigint", "smallint", "numeric", "numeric(3,1)", "text", "real"),
    ),
    "long": (ColumnType("", "long"), NUMBERS, ("bigint", "numeric", "double precision", "text", "filled")),
    "double": (ColumnType("", "double"), st.sampled_from([0.0, -0.0, 1.5, 2.25]), ("double precision", "numeric")),
    "string": (
        ColumnType("", "string"),
        WORDS,
        (
            "text",
            "varchar(3)",
            "char(4)",
            "citext",
            "text COLLATE ci",
            "text COLLATE accentless",
            "word",
            "numeric",
            "inet",
        ),
    ),
    "stamp": (ColumnType("", "string"), STAMPS, ("timestamptz", "timestamp", "text")),
    "uuid": (ColumnType("", "string", "uuid"), UUIDS, ("uuid", "text")),
    "bytes": (ColumnType("", "bytes"), st.sampled_from([b"", b"a", b"\0"]), ("bytea",)),
    "date": (ColumnType("", "int", "date"), st.integers(-2, 2), ("date", "text")),
    "decimal": (
        ColumnType("", "bytes", "decimal", 4, 1),
        st.sampled_from([b"\0\x0a", b"\x0a", b"\x64"]),
        ("numeric", "text"),
    ),
}
KEYS = ("PRIMARY KEY ({key})", "UNIQUE ({key})", "UNIQUE ({key}) INCLUDE (extra)", "UNIQUE NULLS NOT DISTINCT ({key})")
NO_KEYS = ("UNIQUE ({key}) DEFERRABLE", "UNIQUE ({key}, extra)", "CHECK (true)")
PARTS = {
    "": (),
    " PARTITION BY HASH ({by})": (
        "FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    ),
    " PARTITION BY RANGE ({by})": ("DEFAULT",),
    " PARTITION BY LIST ({by})": ("FOR VALUES IN (NULL)",),
}
EXTRAS = (
    *(
        "extra int",
        "extra int",
        "extra int DEFAULT 7",
        "extra int NOT NULL",
        "extra serial",
        "extra filled",
        "extra word DEFAULT 'odd'",
    ),
    *("extra int GENERATED ALWAYS AS IDENTITY", "extra int GENERATED ALWAYS AS (length(f0::text)) STORED"),
    "extra int GENERATED ALWAYS AS (1 / length(f0::text)) STORED",
)
LATER = (
    *("", "", "", "CREATE TRIGGER a BEFORE INSERT OR UPDATE ON {t} FOR EACH ROW EXECUTE FUNCTION raising()"),
    "CREATE CONSTRAINT TRIGGER b AFTER INSERT ON {t} DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION late()",
    "ALTER TABLE {t} ADD CHECK (length(f0::text) < 3)",
    "CREATE UNIQUE INDEX ON {t} (f0)",
    "CREATE UNIQUE INDEX ON {t} ((f0::text)) WHERE f0 IS NOT NULL",
    "CREATE INDEX ON {t} ((1 / length(f0::text)))",
    "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {part} ADD CHECK (length(f0::text) < 3)",
    "CREATE TRIGGER c BEFORE INSERT ON {part} FOR EACH ROW EXECUTE FUNCTION raising()",
    "CREATE UNIQUE INDEX ON {part} (f0)",
    "CREATE RULE r AS ON INSERT TO {t} WHERE f0 IS NULL DO INSTEAD NOTHING",
    "CREATE PUBLICATION {t}_p FOR TABLE {t}",
)
RIGHTS = ("INSERT", "SELECT", "UPDATE", "DELETE", "TEMPORARY", "USAGE", "SEQUENCE", "OWN")


@dataclass(frozen=True)
class Shape:
    """
    A table and what goes there.

    Args:
        columns: of the value, as (Avro type, SQL type); the first ones are the key's in `upsert` mode.
        keys: how many are the key's; 0 is `append`.
        constraint: what makes them one.
        parts: how it is partitioned.
        extra: a column that no field fills.
        later: what else is done to it.
        lacking: the rights that the role has not.
        rows: keys and values of the records; None is a tombstone's.
        plain: the key is plain text and no record.
    """

    columns: list[tuple[ColumnType, str]]
    keys: int
    constraint: str
    parts: str
    extra: str
    later: str
    lacking: frozenset[str]
    rows: list[tuple[tuple[Any, ...], tuple[Any, ...] | None]]
    plain: bool = False
    types: tuple[RowType, RowType] = field(init=False)

    def __post_init__(self) -> None:
        kinds = tuple(kind for kind, _ in self.columns)
        object.__setattr__(self, "types", (RowType(kinds), RowType(kinds[: self.keys])))

    def statements(self, table: str) -> list[str]:
        """What makes the table."""
        names = [kind.name for kind, _ in self.columns]
        columns = [f"{kind.name} {sql}" for kind, sql in self.columns]
        if self.keys:
            columns.append(self.constraint.format(key=", ".join(names[: self.keys])))
        else:
            columns.append("_topic text, _partition int, _offset bigint, _timestamp timestamptz")
        by = names[0] if self.keys else "_offset"
        made = [f"CREATE TABLE {table} ({', '.join([*columns, self.extra])}){self.parts.format(by=by)}"]
        bounds = PARTS[self.parts]
        made += [f"CREATE TABLE {table}_{i} PARTITION OF {table} {bound}" for i, bound in enumerate(bounds)]
        return [*made, self.later.format(t=table, part=f"{table}_0" if bounds else table)]

    def records(self) -> list[SinkRecord]:
        """The records, at the offsets of their numbers."""
        return [self._record(i, key, rest) for i, (key, rest) in enumerate(self.rows)]

    def _record(self, offset: int, key: tuple[Any, ...], rest: tuple[Any, ...] | None) -> SinkRecord:
        values, keys = self.types
        at = Position("customers", 0, offset)
        row = None if rest is None else Row(values, (*key, *rest))
        # A key that begins like a frame is no plain text.
        raw = str(key[0]).lstrip("\0").encode() if self.plain else b"k"
        value = None if rest is None else b"v"
        return SinkRecord(at, raw, value, (), 0, -1, row, Row(keys, key) if self.keys and not self.plain else None)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Tables most of which are of use, each wrong in one way or none."""
    words = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4))
    keys = draw(st.integers(0, min(2, len(words))))
    columns, values = [], []
    for i, word in enumerate(words):
        kind, of, types = KINDS[word]
        nullable = i >= keys and draw(st.booleans())
        named = ColumnType(
            f"f{i}", kind.kind, kind.logical, kind.precision, kind.scale, kind.size, kind.symbols, nullable=nullable
        )  # fmt: skip
        columns.append((named, draw(st.sampled_from(types))))
        values.append(st.none() | of if nullable else of)
    rest: st.SearchStrategy[Any] = st.tuples(*values[keys:])
    if keys:
        rest = st.none() | rest
    wrong = draw(st.sampled_from(["", "", "constraint", "extra", "later", "later", "lacking", "parts"]))
    constraint = draw(st.sampled_from(NO_KEYS if wrong == "constraint" else KEYS))
    return Shape(
        columns,
        keys,
        constraint,
        draw(st.sampled_from(sorted(PARTS))) if wrong in ("parts", "later") else "",
        draw(st.sampled_from(EXTRAS)) if wrong in ("extra", "lacking") else "extra int",
        draw(st.sampled_from(LATER)) if wrong == "later" else "",
        draw(st.frozensets(st.sampled_from(RIGHTS), max_size=2)) if wrong == "lacking" else frozenset(),
        draw(st.lists(st.tuples(st.tuples(*values[:keys]), rest), min_size=1, max_size=8)),
        plain=keys == 1 and words[0] in ("string", "uuid", "stamp") and draw(st.booleans()),
    )
