"""Schemas: what they declare, where the declared bytes lie in a record, and what comes out."""
