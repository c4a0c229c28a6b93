"""The audit trail: one chained line per derivation request and admin action, durable before the answer leaves."""

from worker.authority.audit.trail import Receipt, Trail, TrailKeys

__all__ = ["Receipt", "Trail", "TrailKeys"]
