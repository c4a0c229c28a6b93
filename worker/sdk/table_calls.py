"""The calls that read and write tables: rows of a database, and columns in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from worker.sdk import checked
from worker.sdk import rows as tables
from worker.sdk.calls import Calls, Source
from worker.sdk.options import Errors
from worker.sdk.prepared import raised
from worker.sdk.rows import Cursor, Row, Table

if TYPE_CHECKING:
    from worker.sdk.columns import Column, Frame

ROWS = 1_000
"""Rows of a cursor that are read at once."""


class TableCalls(Calls):
    """`Calls`, and those for tables."""

    def decrypt_row(
        self, row: Row, *, table: Table | str, key: bytes | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        """Return one row in the clear; see `decrypt_rows`."""
        found: dict[str, Any] = self.decrypt_rows([row], table=table, keys=[key], reason=reason)[0]
        return found

    def decrypt_rows(
        self,
        rows: Sequence[Row],
        *,
        table: Table | str,
        keys: Sequence[bytes | None] | None = None,
        errors: Errors = "raise",
        reason: str | None = None,
    ) -> list[Any]:
        """
        Decrypt rows as a driver returns them, all with one request.

        Envelopes may be `bytea`, EQL in `jsonb`, or lie within `jsonb` values; what they are bound to is read from the
        row's own columns, in Python's types. Every envelope must belong to its column.

        Args:
            rows: n mappings (psycopg's `dict_row`), SQLAlchemy rows, or named tuples: any of the table's columns, with
                those that an encrypted one is bound to.
            table: a `Table`, or its output schema.
            keys: the records' keys, needed where a field binds `$key`.
            errors: `raise` the first row's, or `return` each in its row's place.
            reason: what the audit is told.

        Returns:
            n dicts: the row, its encrypted columns in the clear; columns that the schema has not stay as they are.

        Raises:
            ConfigError: a row has no encrypted column, or lacks one that another is bound to.
            DecryptionError, KeyAccessDenied, RecordError: a row does not open, where `errors` is `raise`.

        Example:
            >>> row = {"id": 1, "email": encryption.encrypt("ann@x", field="acme.crm.Customer/email")}
            >>> encryption.decrypt_row(row, table=output_schema(schema))
            {'id': 1, 'email': 'ann@x'}
        """
        return self.opened_rows(rows, table, keys, errors, reason)

    def opened_rows(
        self,
        rows: Sequence[Row],
        table: Table | str,
        keys: Sequence[bytes | None] | None,
        errors: Errors,
        reason: str | None,
        source: Source | None = None,
    ) -> list[Any]:
        """Return rows in the clear, under keys from `source` where it is given (see `Regions`)."""
        checked.errors(errors)
        known = tables.known(table)
        mapped = [tables.mapping_of(row) for row in checked.several(rows, "rows", "decrypt_row")]
        given = checked.keys_of(keys, len(mapped))
        with self.reading(reason) if source is None else source() as found:
            return raised(tables.opened(mapped, known, given, found), errors)

    def decrypt_cursor(
        self,
        cursor: Cursor,
        *,
        table: Table | str,
        size: int = ROWS,
        errors: Errors = "raise",
        reason: str | None = None,
    ) -> Iterator[Any]:
        """
        Yield a cursor's rows in the clear, with one request for each `size` rows; see `decrypt_rows`.

        Args:
            cursor: psycopg's, of any row factory (a server-side one streams), or a SQLAlchemy result.
            table: a `Table`, or its output schema.
            size: rows that are read at once.
            errors: `raise` the first row's, or `yield` each in its row's place.
            reason: what the audit is told.
        """
        known = tables.known(table)
        for batch in tables.batches(cursor, size):
            yield from self.decrypt_rows(batch, table=known, errors=errors, reason=reason)

    def decrypt_table(
        self,
        table: Frame,
        *,
        schema: str | None = None,
        columns: Mapping[str, Column | str] | None = None,
        errors: Errors = "raise",
        reason: str | None = None,
    ) -> Frame:
        """
        Decrypt the columns of a pyarrow table or record batch, or of a pandas frame.

        All keys are asked for together: in one call for columns that others are bound to, in one for the rest.

        Args:
            table: what holds the envelopes.
            schema: the output schema of its rows; or
            columns: for each encrypted column its field, or a `Column` that says its type and context too.
            errors: `raise` the first value's; or `return` null in its place.
            reason: what the audit is told.

        Returns:
            The same kind, the encrypted columns in the types of their fields; the others are not copied.

        Raises:
            ConfigError: pyarrow is not installed, or the table has no encrypted column.
            DecryptionError, KeyAccessDenied: a value does not open, where `errors` is `raise`.
        """
        from worker.sdk import columns as memory

        checked.errors(errors)
        with self._call("decrypt", None, reason) as call:
            return memory.decrypted(table, memory.chosen(table, schema, columns), call, errors)

    def encrypt_table(
        self,
        table: Frame,
        *,
        schema: str | None = None,
        columns: Mapping[str, Column | str] | None = None,
        reason: str | None = None,
    ) -> Frame:
        """
        Encrypt columns of a pyarrow table or record batch, or of a pandas frame, with one request.

        Args:
            table: what holds the values.
            schema: the input schema, whose declarations count; or
            columns: for each column to encrypt its field, or a `Column` that says its type, format and context too.
            reason: what the audit is told.

        Returns:
            The same kind, the encrypted columns binary; the others are not copied.

        Raises:
            ConfigError: pyarrow is not installed, or the table has no column to encrypt.
            RecordError: a value is not of its field's type.
        """
        from worker.sdk import columns as memory

        with self._call("encrypt", None, reason) as call:
            return memory.encrypted(table, memory.declared(table, schema, columns), call)
