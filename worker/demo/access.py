"""Reading as one client or another, and being refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.demo.claims import ClaimFailedError
from worker.errors import DecryptionError, KeyAccessDenied
from worker.sdk import Encryption

EMAIL = "acme.crm.Customer/email"
_PER_CLIENT = ("CS_CLIENT_ACCESS_KEY", "CS_CLIENT_ID", "CS_CLIENT_KEY")
_SHARED = ("CS_CTS_HOST", "CS_ZEROKMS_HOST", "CS_WORKSPACE_CRN")


def reader(env: Mapping[str, str], suffix: str = "") -> Encryption:
    """Return the SDK with one client's credentials; `suffix` is `_2` for the authority's second client."""
    own = {name: env[f"{name}{suffix}"] for name in _PER_CLIENT}
    return Encryption.from_env(environ={**{name: env[name] for name in _SHARED}, **own})


def open_records(encryption: Encryption, datums: Sequence[bytes], schema: str) -> list[dict[str, object]]:
    """Decrypt whole records of the output topic; raises the first record's error where one does not open."""
    return encryption.decrypt_records(datums, schema=schema)


def open_email(encryption: Encryption, envelope: bytes) -> object:
    """Decrypt one e-mail as it was found in the table."""
    return encryption.decrypt(envelope, field=EMAIL)


def expect_refusal(encryption: Encryption, envelope: bytes) -> str:
    """Try to decrypt and return the error's text; raises `ClaimFailedError` if the value opens."""
    try:
        encryption.decrypt(envelope, field=EMAIL)
    except (DecryptionError, KeyAccessDenied) as exc:
        return f"{type(exc).__name__}: {exc}"
    raise ClaimFailedError("not as claimed: these credentials do not open the value")
