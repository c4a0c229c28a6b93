"""The ledger's table as its keeper sees it: chains followed, and their starts removed behind a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import psycopg

from worker.errors import ConfigError, FatalError
from worker.sink.base import LedgerRow
from worker.sink.checkpoint import ChainReport, Checkpoint, Follower, KeyOf, Told, ignored
from worker.sink.ledger import Head, LedgerEntry, Link
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.errors import connection_verdict

_CHAINS = """
SELECT chain FROM (SELECT chain FROM worker.ledger UNION SELECT chain FROM worker.ledger_checkpoint) c ORDER BY chain
"""
_CHECKPOINT = 'SELECT sequence, hash, keys, "values", keyset, signature FROM worker.ledger_checkpoint WHERE chain = %s'
_ENTRIES = """
SELECT batch, request_ids, keyset, format, keys, "values", topic, partition, first_offset, last_offset, schema_id,
  audited, chain, sequence, prev_hash, hash
FROM worker.ledger WHERE chain = %s AND sequence < %s ORDER BY sequence
"""
# The newest entry stays: the next batch goes on from it.
_END = """
SELECT coalesce(min(sequence) FILTER (WHERE at >= %s), max(sequence)) FROM worker.ledger WHERE chain = %s
"""
_KEEP = """
INSERT INTO worker.ledger_checkpoint (chain, sequence, hash, keys, "values", keyset, signature)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (chain) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash, keys = excluded.keys,
  "values" = excluded."values", keyset = excluded.keyset, signature = excluded.signature, at = now()
"""
_REMOVE = "DELETE FROM worker.ledger WHERE chain = %s AND sequence < %s"
_ALL = 1 << 62


def verify_table(dsn: str, key_of: KeyOf, *, timeout_s: float, told: Told = ignored) -> Iterator[ChainReport]:
    """
    Follow every chain of a database's ledger to its end.

    Args:
        dsn: the database; needs SELECT on the ledger and its checkpoints.
        key_of: gives the index keys under which checkpoints are signed.
        timeout_s: bound of connecting.
        told: each receipt of the authority's audit.

    Raises:
        FatalError: an entry is altered, missing or out of order, or a checkpoint is not this region's.
        ConfigError: a table or a right is missing.
        SinkUnavailable: the database does not answer.
    """
    with _session(dsn, timeout_s) as connection:
        for chain in _chains(connection):
            yield _follow(connection, chain, _ALL, key_of, told).report()


def trim_table(dsn: str, before: datetime, keyset: UUID, key_of: KeyOf, *, timeout_s: float) -> Iterator[ChainReport]:
    """
    Remove each chain's entries from before a time, once they verify, and leave a signed checkpoint in their place.

    One transaction a chain. The newest entry of a chain always stays.

    Args:
        dsn: the database; needs SELECT and DELETE on the ledger, SELECT, INSERT and UPDATE on its checkpoints.
        before: entries written at or after it stay.
        keyset: whose index key signs.
        key_of: gives index keys.
        timeout_s: bound of connecting.

    Raises:
        FatalError, ConfigError, SinkUnavailable: as `verify_table`; what does not verify is not removed.
    """
    with _session(dsn, timeout_s) as connection:
        for chain in _chains(connection):
            with connection.transaction():
                connection.execute("LOCK TABLE worker.ledger_checkpoint IN SHARE ROW EXCLUSIVE MODE")
                found = connection.execute(_END, [before, chain]).fetchone()
                end = 0 if found is None or found[0] is None else int(found[0])
                follower = _follow(connection, chain, end, key_of)
                if follower.head.sequence > follower.removed:
                    kept = follower.checkpoint(keyset, key_of)
                    connection.execute(_KEEP, [chain, *_values(kept)])
                    connection.execute(_REMOVE, [chain, kept.head.sequence])
            yield _follow(connection, chain, _ALL, key_of).report()


def _follow(connection: Connection, chain: str, end: int, key_of: KeyOf, told: Told = ignored) -> Follower:
    checkpoint = _checkpoint(connection, chain)
    if checkpoint is not None:
        checkpoint.check(key_of)
    follower = Follower(chain, checkpoint, told)
    with connection.cursor("ledger", withhold=True) as cursor:
        cursor.execute(_ENTRIES, [chain, end])
        for row in cursor:
            kept = replace(LedgerRow(row[0], tuple(row[1]), *row[2:11]), audited=tuple(row[11]))
            entry = LedgerEntry(kept, row[12], row[13], bytes(row[14]))
            if entry.sequence < follower.removed:
                raise FatalError(f"ledger chain {chain}: entry {entry.sequence} was removed and is there again")
            follower.take([Link(entry.fields(), entry.prev_hash, bytes(row[15]))])
    return follower


def _checkpoint(connection: Connection, chain: str) -> Checkpoint | None:
    row = connection.execute(_CHECKPOINT, [chain]).fetchone()
    if row is None:
        return None
    return Checkpoint(chain, Head(row[0], bytes(row[1])), row[2], row[3], row[4], bytes(row[5]))


def _values(kept: Checkpoint) -> tuple[object, ...]:
    return kept.head.sequence, kept.head.hash, kept.keys, kept.values, kept.keyset, kept.signature


def _chains(connection: Connection) -> list[str]:
    return [str(row[0]) for row in connection.execute(_CHAINS).fetchall()]


@contextmanager
def _session(dsn: str, timeout_s: float) -> Iterator[Connection]:
    try:
        with psycopg.connect(dsn, connect_timeout=max(2, int(timeout_s)), autocommit=True) as connection:
            yield connection
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as exc:
        lacking = f"the ledger's tables are missing or older than this version (SQLSTATE {exc.sqlstate})"
        raise ConfigError(f"{lacking}; run worker check --create") from None
    except psycopg.errors.InsufficientPrivilege as exc:
        lacking = f"a right on the ledger's tables is missing (SQLSTATE {exc.sqlstate})"
        raise ConfigError(f"{lacking}; docs/sinks.md says which") from None
    except psycopg.Error as exc:
        raise connection_verdict(exc, "the ledger") from None
