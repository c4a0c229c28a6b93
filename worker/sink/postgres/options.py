"""What an operator sets for a PostgreSQL sink."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from worker.column_names import MAX_NAME_BYTES
from worker.options import Options


class PostgresSinkOptions(Options):
    """One PostgreSQL sink."""

    kind: Literal["postgres"] = "postgres"
    """A PostgreSQL sink."""
    dsn_env: str = "DATABASE_URL"
    """The environment variable that holds the connection string."""
    table: str | None = Field(default=None, min_length=1)
    """`schema.table` or `table`, for every source topic that `tables` does not name."""
    tables: dict[str, str] = Field(default_factory=dict)
    """Source topic to table, where a route reads several topics."""
    mode: Literal["append", "upsert"] = "append"
    """`append` adds a row a record with its coordinates, `upsert` keeps the last row a key."""
    key: tuple[str, ...] = ()
    """
    `upsert`'s key columns; a unique index covers exactly these. They hold what the record's key holds, so that a
    tombstone finds its row: the key's fields, or the key itself where it is one value.
    """
    key_prefix: str = ""
    """What the key columns' names have before the names of the key's fields, where a value's field is named alike."""
    columns: dict[str, Literal["bytea", "eql", "json"]] = Field(default_factory=dict)
    """How fields are stored: an encrypted one that is not to be `bytea` as `eql`; JSON text as `json`."""
    ledger: bool = True
    """Write one entry a batch and partition to `worker.ledger`."""
    create: bool = False
    """Create or extend missing tables at `check`."""
    evolve: bool = False
    """Add a column where a new version of the schema brings a field that the table lacks, as it comes."""
    residency_key: str | None = None
    """Public key (Ed25519, base64) whose signature `worker.residency` must bear for this server."""
    timeout_s: float = Field(default=60.0, gt=0)
    """
    How long one call may take before the connection is cut and the batch tried again; the server ends a statement after
    it by itself, so that a frozen worker can't hold others up for longer.
    """
    idle_transaction_s: float = Field(default=10.0, gt=0)
    """
    After this the server ends an open transaction in which nothing happens, and refuses a wait for another's lock.
    """

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.table is None and not self.tables:
            raise ValueError("give table, or tables by source topic")
        if (self.mode == "upsert") != bool(self.key):
            raise ValueError("mode = upsert and key = [columns] go together")
        if len(set(self.key)) != len(self.key):
            raise ValueError("key names a column twice")
        if encrypted := sorted(set(self.key) & self.columns.keys()):
            raise ValueError(f"encrypted fields can't be key columns: {', '.join(encrypted)}")
        if bare := [name for name in self.key if not name.startswith(self.key_prefix) or name == self.key_prefix]:
            raise ValueError(f"key columns without the key_prefix: {', '.join(bare)}")
        for name in self.all_tables:
            if any(len(part) > 1 and part[0] == part[-1] == '"' for part in (name, *name.split(".", 1))):
                raise ValueError(f"table {name}: give the name without quotes; it counts as it is written")
            if any(len(part.encode()) > MAX_NAME_BYTES for part in name.split(".", 1)):
                raise ValueError(f"table {name}: PostgreSQL cuts names over {MAX_NAME_BYTES} bytes; give a shorter one")
            schema = name.split(".", 1)[0] if "." in name else ""
            if schema.startswith("pg_") or schema == "information_schema":
                raise ValueError(f"table {name}: schema {schema} is PostgreSQL's own; name a table in one of yours")
        return self

    @property
    def searchable(self) -> tuple[str, ...]:
        """The fields that are stored with their search terms."""
        return tuple(name for name, storage in self.columns.items() if storage == "eql")

    @property
    def stored(self) -> tuple[str, ...]:
        """The fields of which `columns` says how they are stored."""
        return tuple(self.columns)

    @property
    def subject(self) -> str:
        """What subjects of output schemas are named after."""
        return self.all_tables[0]

    @property
    def key_subject(self) -> str | None:
        """Keys are not registered: a frame keeps the input's id."""
        return None

    @property
    def key_columns(self) -> dict[str, str]:
        """The key columns and the key's fields that fill them; empty for `append`."""
        return {name: name.removeprefix(self.key_prefix) for name in self.key}

    @property
    def all_topics(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def all_tables(self) -> tuple[str, ...]:
        """Every table once."""
        named = () if self.table is None else (self.table,)
        return tuple(dict.fromkeys((*named, *self.tables.values())))

    def table_of(self, topic: str) -> str | None:
        """Return the table of a source topic, None where there is none."""
        return self.tables.get(topic, self.table)
