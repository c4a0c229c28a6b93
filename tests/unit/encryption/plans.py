"""Field plans for tests of the encryption stage, which take the compiler's result as given."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from worker.model import FieldPlan, PlaintextKind

EMAIL = FieldPlan(
    identity="acme.crm.Customer/email",
    descriptor="acme.crm.Customer/email",
    descriptor_is_explicit=False,
    keyset=None,
    format="record",
    context=(),
    bind=(),
    null="keep",
    index=(),
    kind=PlaintextKind.STRING,
    null_branch=None,
    symbols=(),
    fingerprint=hashlib.sha256(b'"string"').digest()[:8],
    schema='"string"',
)


def plan(**changes: Any) -> FieldPlan:
    """The plan of a customer's email, changed."""
    return replace(EMAIL, **changes)
