"""How an envelope is refused; no message holds anything of its content."""

from __future__ import annotations

from worker.errors import DecryptionError


def not_an_envelope(why: str) -> DecryptionError:
    """The error for bytes that are no envelope; `why` names the rule that was broken."""
    return DecryptionError(f"not an envelope: {why}", code="not_an_envelope")


def unexpected_plaintext() -> DecryptionError:
    """The error for an envelope that opens to a value of a type its field does not have."""
    return DecryptionError("the value is not of the type that its field has; read it with the schema it was written by")
