"""How an envelope is refused; no message holds anything of its content."""

from __future__ import annotations

from worker.errors import ContextDenied, DecryptionError, KeyAccessDenied, SubjectErased
from worker.model import KeyRefused


def not_an_envelope(why: str) -> DecryptionError:
    """The error for bytes that are no envelope; `why` names the rule that was broken."""
    return DecryptionError(f"not an envelope: {why}", code="not_an_envelope")


def unexpected_plaintext() -> DecryptionError:
    """The error for an envelope that opens to a value of a type its field does not have."""
    return DecryptionError("the value is not of the type that its field has; read it with the schema it was written by")


def key_denied(key: KeyRefused) -> KeyAccessDenied | DecryptionError:
    """The error for a key that the service refuses: to this identity, or for what this key is bound to."""
    if key.is_moved:
        return DecryptionError(key.reason)
    if key.is_erased:
        return SubjectErased("the keys of this value's context were erased in its keyset: nobody opens it any more")
    if key.is_whole:
        return KeyAccessDenied(key.reason)
    return ContextDenied(
        f"the key service refuses this value's key ({key.reason}): the context or lock context is not the one it was "
        "sealed with, the caller does not meet its policy, or the envelope was altered"
    )
