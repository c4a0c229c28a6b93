#!/bin/sh
# What an administrator does once: declare the region (docs/contracts.md, 8) and make the table.
set -eu
psql -v ON_ERROR_STOP=1 -v region="$REGION" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE SCHEMA worker;
CREATE TABLE worker.residency (
  one boolean PRIMARY KEY DEFAULT true CHECK (one), region text NOT NULL,
  declared_at timestamptz NOT NULL DEFAULT now(), declared_by text NOT NULL DEFAULT session_user, signature text
);
INSERT INTO worker.residency (region) VALUES (:'region');
CREATE SCHEMA crm;
CREATE TABLE crm.customers (
  id text, country text, since date, name bytea, email bytea, phone bytea, address bytea,
  _topic text NOT NULL, _partition int NOT NULL, _offset bigint NOT NULL, _timestamp timestamptz,
  UNIQUE (_topic, _partition, _offset)
);
SQL
