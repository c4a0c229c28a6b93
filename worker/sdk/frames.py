"""Tables and frames as Arrow has them, of the columns that a call is about, and back; needs the extra `tables`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import pyarrow as pa

from worker.errors import ConfigError, RecordError

Back = Callable[[Any, Collection[str]], Any]
"""Makes the caller's kind of table of Arrow's, of which some columns changed."""


def names_of(table: Any) -> list[str]:
    """Return a table's columns; raises `ConfigError` for what is none."""
    return [str(name) for name in _labels(table)]


def taken(table: Any, names: Collection[str]) -> tuple[Any, Back]:
    """
    Return those of a table's columns that are named, and what makes a table of the caller's kind of them again.

    Raises:
        ConfigError: two columns have one of the names.
        RecordError: a frame's column holds what Arrow has no one type for; the message names it, and no value.
    """
    for name, count in Counter(names_of(table)).items():
        if count > 1 and name in names:
            raise ConfigError(f"the table has {count} columns {name}: which is meant?")
    if isinstance(table, pa.Table):
        return table, lambda made, _: made
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table]), _into_batch
    labels = {str(label): label for label in table.columns}
    wanted = {name: _column(table[labels[name]], name) for name in labels if name in names}
    return pa.table(wanted), partial(_into_frame, table, labels)


def _labels(table: Any) -> Collection[Any]:
    if isinstance(table, pa.Table | pa.RecordBatch):
        names: list[str] = table.schema.names
        return names
    if hasattr(table, "to_numpy") and hasattr(table, "columns"):
        labels: Collection[Any] = table.columns
        return labels
    raise ConfigError(f"a table is a pyarrow Table or RecordBatch, or a pandas DataFrame, not a {type(table).__name__}")


def _column(series: Any, name: str) -> Any:
    try:
        return pa.Array.from_pandas(series)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        # Arrow's words hold the value.
        raise RecordError(
            f"column {name} holds values of several types, or of one that Arrow has not: give it one", path=name
        ) from None


def _into_batch(made: Any, _: Collection[str]) -> Any:
    return pa.RecordBatch.from_arrays([column.combine_chunks() for column in made.columns], schema=made.schema)


def _into_frame(frame: Any, labels: Mapping[str, Any], made: Any, changed: Collection[str]) -> Any:
    out = frame.copy(deep=False)
    for name in changed:
        try:
            out[labels[name]] = _values(made.column(name))
        except (pa.ArrowException, ValueError, OverflowError):
            raise RecordError(
                f"column {name} holds what pandas has no room for; read it as a pyarrow table", path=name
            ) from None
    return out


def _values(column: Any) -> Any:
    import pandas as pd

    # As floats, which is pandas' way for whole numbers and nulls, the large ones would be others.
    whole = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()} if column.null_count else {}
    return column.to_pandas(types_mapper=whole.get, maps_as_pydicts="strict").array
