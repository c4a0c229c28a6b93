"""
The canary: an envelope made on a keyset's first use, which the authority must be able to open ever after.

An authority that was restored from the wrong backup, or answers for another, gives keys that look like keys. What is
encrypted under them is lost. So the canary is opened before anything is written, at start, at reconnect and after a
restore.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import partial
from typing import Protocol
from uuid import UUID

from worker.errors import CanaryError, DecryptionError

DESCRIPTOR = "zk-canary"
"""The descriptor of every canary."""
REFUSED = "key_refused"
"""The code of a `DecryptionError` where the authority does not give the canary's key."""
_SONG = b"the keyset gives the keys it gave before"


class CanaryStore(Protocol):
    """Where canaries are kept."""

    def load(self, keyset: UUID) -> bytes | None:
        """Return the keyset's canary, None where there is none yet."""
        ...

    def save(self, keyset: UUID, canary: bytes) -> None:
        """Keep the keyset's first canary; a canary that exists already stays."""
        ...


class KeptCanaries:
    """
    Remembers what a store gave, for a canary never changes: opening it again costs one key and no read.

    Args:
        store: asked for what is not remembered.
    """

    def __init__(self, store: CanaryStore) -> None:
        self._store = store
        self._kept: dict[UUID, bytes] = {}

    def load(self, keyset: UUID) -> bytes | None:
        """Return the keyset's canary, None where there is none yet."""
        kept = self._kept.get(keyset) or self._store.load(keyset)
        if kept is not None:
            self._kept[keyset] = kept
        return kept

    def save(self, keyset: UUID, canary: bytes) -> None:
        """Keep the keyset's first canary; a canary that exists already stays."""
        self._store.save(keyset, canary)


def open_or_make(
    keyset: UUID, store: CanaryStore, *, seal: Callable[[bytes], bytes], unseal: Callable[[bytes], bytes]
) -> bool:
    """
    Open the keyset's canary, or make it where the keyset is used for the first time.

    Args:
        keyset: the resolved keyset.
        store: where canaries are kept.
        seal: encrypts under a fresh key of the keyset with the descriptor `zk-canary`.
        unseal: decrypts with a key asked for anew, past every cache.

    Returns:
        Whether it was made now.

    Raises:
        CanaryError: the authority's key does not open the canary; nothing may be written.
        KeyServiceUnavailable: no answer.
        KeyAccessDenied: this identity may not.
    """
    canary = store.load(keyset)
    made = canary is None
    if canary is None:
        store.save(keyset, seal(_SONG))
        # Read back: another worker may have been first, and its canary is the one that counts.
        canary = store.load(keyset)
        if canary is None:
            raise CanaryError(f"the canary of keyset {keyset} was saved and is not there; check the canary's store")
    opens(keyset, partial(unseal, canary))
    return made


def opens(keyset: UUID, unseal: Callable[[], bytes]) -> None:
    """Raise `CanaryError` where a canary does not open to what every canary holds."""
    try:
        opened = unseal()
    except DecryptionError as exc:
        raise CanaryError(wrong(keyset) if exc.code == REFUSED else not_ours(keyset)) from exc
    if not hmac.compare_digest(opened, _SONG):
        raise CanaryError(wrong(keyset))


def wrong(keyset: UUID) -> str:
    """Return what is said of an authority that gives other keys than before."""
    return (
        f"the canary of keyset {keyset} does not open: the authority gives other keys than before. Nothing is written. "
        "Check that CS_ZEROKMS_HOST names the right authority; if it does, restore that from its own backup"
    )


def not_ours(keyset: UUID) -> str:
    """Return what is said where the authority gives the canary's key and it opens nothing with our half."""
    return (
        f"the canary of keyset {keyset} does not open with this client's key, and the authority knows the canary: "
        "CS_CLIENT_KEY is not the key of the client that CS_CLIENT_ID names. Nothing is written. Set the key that was "
        "written when this client was made; if it is that one, another authority answers under CS_ZEROKMS_HOST"
    )
