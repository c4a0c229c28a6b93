"""Whether a row has room on a page of PostgreSQL: values go out of line, what points to them does not."""

from __future__ import annotations

from collections.abc import Mapping

from worker.errors import ConfigError
from worker.model.rows import ColumnType
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.table import Table

_HEADER, _POINTER = 24, 18
# What a page has beside one row: its own header and the row's entry.
_PAGE = 32
_ALIGNED = {"c": 1, "s": 2, "i": 4, "d": 8}
_COLUMNS = """
SELECT attname::text, attlen::int4, attalign::text, current_setting('block_size')::int4 FROM pg_attribute
 WHERE attrelid = %s AND attnum > 0 ORDER BY attnum
"""


def refuse_width(connection: Connection, table: Table, kinds: Mapping[str, ColumnType]) -> list[str]:
    """
    Return in words that some records have no room in a row, if that is so.

    Args:
        connection: to the database.
        table: that the rows go into.
        kinds: what goes in, by column.

    Raises:
        ConfigError: no record has.
    """
    layout = connection.execute(_COLUMNS, [table.oid]).fetchall()
    room = layout[0][3] - _PAGE if layout else 0
    least, most = 0, 0
    for name, length, align, _ in layout:
        if kind := kinds.get(name):
            if not kind.nullable:
                least = _after(least, length, align, _POINTER if kind.encrypted is not None else 1)
            most = _after(most, length, align, _POINTER)
    least, most = _HEADER + least, _HEADER + len(layout) // 8 + most
    if least > room:
        raise ConfigError(
            f"table {table.name}: no record has room in a row, since its values take {least:,} bytes or "
            f"more of a page's {room:,}, encrypted ones {_POINTER} each wherever they are stored; encrypt several "
            "fields as one record, or write to a topic"
        )
    return [f"a record whose values take over {room:,} bytes of a row"] if most > room else []


def _after(size: int, length: int, align: str, pointer: int) -> int:
    return size + pointer if length < 0 else -(-size // _ALIGNED[align]) * _ALIGNED[align] + length
