"""What stands on a table and only the server can judge: named before the first row, since it can't be told."""

from __future__ import annotations

from collections.abc import Collection

from worker.sink.postgres.connection import Connection
from worker.sink.postgres.table import Table

# Of partitions only what is their own counts: the rest is the table's, and is named there.
_STANDING = """
WITH tree AS (
  SELECT %(t)s::oid AS oid, NULL::name AS of
  UNION ALL SELECT relid, relid::regclass::text FROM pg_partition_tree(%(t)s::oid) WHERE relid <> %(t)s::oid)
SELECT 'trigger', tgname::text, tree.of FROM pg_trigger JOIN tree ON tgrelid = tree.oid
 WHERE NOT tgisinternal AND tgenabled <> 'D' AND (of IS NULL OR tgparentid = 0)
UNION ALL SELECT 'rule', rulename::text, of FROM pg_rewrite JOIN tree ON ev_class = tree.oid WHERE of IS NULL
UNION ALL SELECT CASE contype WHEN 'c' THEN 'check' WHEN 'f' THEN 'foreign key' ELSE 'exclusion' END, conname::text, of
            FROM pg_constraint JOIN tree ON conrelid = tree.oid
           WHERE contype IN ('c', 'f', 'x') AND (of IS NULL OR conislocal AND conparentid = 0)
UNION ALL SELECT 'unique index', i.indexrelid::regclass::text, of
            FROM pg_index i JOIN tree ON i.indrelid = tree.oid
           WHERE (i.indisunique OR i.indexprs IS NOT NULL) AND NOT (of IS NULL AND coalesce(
                 i.indpred IS NULL AND i.indexprs IS NULL AND %(key)s::text[] = (
                   SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_attribute a
                    WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])), false))
             AND (of IS NULL OR NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = i.indexrelid))
UNION ALL SELECT 'not null', own.attname::text, of
            FROM tree JOIN pg_attribute own ON own.attrelid = tree.oid AND own.attnotnull
            JOIN pg_attribute root ON root.attrelid = %(t)s::oid AND root.attname = own.attname AND NOT root.attnotnull
           WHERE of IS NOT NULL AND own.attnum > 0
UNION ALL SELECT 'generated column', attname::text, NULL FROM pg_attribute
           WHERE attrelid = %(t)s::oid AND attgenerated <> '' AND NOT attisdropped
 ORDER BY 1, 2
"""
_OPEN = """
SELECT EXISTS (SELECT FROM pg_partitioned_table
                WHERE partdefid = 0
                  AND partrelid IN (SELECT %s::oid UNION SELECT relid FROM pg_partition_tree(%s::oid)))
"""
_UNPUBLISHED = """
SELECT c.oid::regclass::text, p.pubname::text
  FROM (SELECT %(t)s::oid AS oid UNION SELECT relid FROM pg_partition_tree(%(t)s::oid)) tree
  JOIN pg_class c ON c.oid = tree.oid AND c.relkind = 'r'
  JOIN pg_publication p ON (p.pubupdate OR p.pubdelete) AND EXISTS (
       SELECT FROM pg_publication_tables named
         JOIN pg_class member ON member.relname = named.tablename
         JOIN pg_namespace n ON n.oid = member.relnamespace AND n.nspname = named.schemaname
        WHERE named.pubname = p.pubname
          AND member.oid IN (SELECT c.oid UNION SELECT relid FROM pg_partition_ancestors(c.oid)))
 WHERE c.relreplident = 'n'
    OR (c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary))
    OR (c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisreplident))
 LIMIT 1
"""
_SEQUENCES = """
SELECT a.attname::text, s.oid::regclass::text
  FROM pg_attrdef d
  JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass
  JOIN pg_class s ON s.oid = p.refobjid
 WHERE d.adrelid = %s AND a.attname <> ALL (%s)
   AND NOT CASE WHEN s.relkind = 'S' THEN has_sequence_privilege(s.oid, 'USAGE, UPDATE') ELSE true END
"""
_RULES = "SELECT rulename::text FROM pg_rewrite WHERE ev_class = %s AND ev_type IN ('2', '3') ORDER BY 1"


def untold(connection: Connection, table: Table, key: Collection[str]) -> list[str]:
    """
    Return in words what may refuse a record and can't be judged here.

    Args:
        connection: to the database.
        table: with its partitions.
        key: the columns whose unique index is the key's.
    """
    rows = connection.execute(_STANDING, {"t": table.oid, "key": sorted(key)}).fetchall()
    found = []
    for kind, name, of in rows:
        place = table.name if of is None else f"{table.name}, partition {of},"
        verb = "refuses or changes" if kind == "trigger" else "refuses"
        found.append(f"what {kind} {name} of {place} {verb} (not told)")
    some = connection.execute(_OPEN, [table.oid, table.oid]).fetchone()
    return [*found, "rows of no partition"] if some is not None and some[0] else found


def unpublished(connection: Connection, table: Table) -> tuple[str, str] | None:
    """Return a table and a publication of it that lets no row of it be updated or deleted: it has no identity."""
    row = connection.execute(_UNPUBLISHED, {"t": table.oid}).fetchone()
    return None if row is None else (row[0], row[1])


def locked_sequences(connection: Connection, table: Table, filled: Collection[str]) -> list[tuple[str, str]]:
    """Return the columns that a sequence would fill, and the sequences, where the role may not use them."""
    return [(row[0], row[1]) for row in connection.execute(_SEQUENCES, [table.oid, list(filled)]).fetchall()]


def rules(connection: Connection, table: Table) -> list[str]:
    """Return the rules on a table's inserts and updates."""
    return [row[0] for row in connection.execute(_RULES, [table.oid]).fetchall()]
