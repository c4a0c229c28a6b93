"""Tables and search terms under an event loop: each call works in a thread, so that the loop goes on meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import anyio.to_thread

from worker.interpreter import Unpicklable
from worker.sdk import rows as tables
from worker.sdk.options import Errors
from worker.sdk.rows import Row, Table
from worker.sdk.table_calls import ROWS, TableCalls
from worker.sdk.terms import Index, Terms
from worker.zerokms.exchange import Keyset

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.sdk.columns import Column, Frame

_P = ParamSpec("_P")
_T = TypeVar("_T")


class AsyncCursor(Protocol):
    """What psycopg's asynchronous cursors have."""

    def fetchmany(self, size: int = ..., /) -> Awaitable[Sequence[Any]]:
        """Return the next rows, none at the end."""
        ...


class AsyncTableCalls(Unpicklable):
    """The calls of `Encryption` that read and write tables, and its terms, as coroutines."""

    _calls: TableCalls
    _terms: Terms

    async def decrypt_row(
        self, row: Row, *, table: Table | str, key: bytes | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        """See `Encryption.decrypt_row`."""
        return await in_thread(self._calls.decrypt_row, row, table=table, key=key, reason=reason)

    async def decrypt_rows(
        self,
        rows: Sequence[Row],
        *,
        table: Table | str,
        keys: Sequence[bytes | None] | None = None,
        errors: Errors = "raise",
        reason: str | None = None,
    ) -> list[Any]:
        """See `Encryption.decrypt_rows`."""
        return await in_thread(self._calls.decrypt_rows, rows, table=table, keys=keys, errors=errors, reason=reason)

    async def decrypt_cursor(
        self,
        cursor: AsyncCursor,
        *,
        table: Table | str,
        size: int = ROWS,
        errors: Errors = "raise",
        reason: str | None = None,
    ) -> AsyncIterator[Any]:
        """Yield the rows of psycopg's asynchronous cursor in the clear; see `Encryption.decrypt_cursor`."""
        known = Table(table) if isinstance(table, str) else table
        while rows := await cursor.fetchmany(size):
            named = tables.named(cursor, rows)
            for row in await self.decrypt_rows(named, table=known, errors=errors, reason=reason):
                yield row

    async def decrypt_table(
        self,
        table: Frame,
        *,
        schema: str | None = None,
        columns: Mapping[str, Column | str] | None = None,
        errors: Errors = "raise",
        reason: str | None = None,
    ) -> Frame:
        """See `Encryption.decrypt_table`."""
        call = self._calls.decrypt_table
        return await in_thread(call, table, schema=schema, columns=columns, errors=errors, reason=reason)

    async def encrypt_table(
        self,
        table: Frame,
        *,
        schema: str | None = None,
        columns: Mapping[str, Column | str] | None = None,
        reason: str | None = None,
    ) -> Frame:
        """See `Encryption.encrypt_table`."""
        return await in_thread(self._calls.encrypt_table, table, schema=schema, columns=columns, reason=reason)

    async def query_term(
        self,
        field: str,
        value: object,
        *,
        index: Index = "unique",
        schema: str | None = None,
        keyset: str | None = None,
    ) -> str | list[int]:
        """See `Encryption.query_term`."""
        self._calls.scope("decrypt", None, None)
        return await in_thread(self._terms.query, field, value, index=index, schema=schema, keyset=keyset)

    async def keysets(self) -> list[Keyset]:
        """See `Encryption.keysets`."""
        return await in_thread(self._terms.keysets)


async def in_thread(call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
    """Return what a call returns that may not hold up the loop."""
    return await anyio.to_thread.run_sync(partial(call, *args, **options))
