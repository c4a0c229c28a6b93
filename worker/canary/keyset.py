"""How a worker opens its keysets' canaries: the store beside the data, the envelope of the stage of encryption."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from worker.canary.canary import DESCRIPTOR, CanaryStore, open_or_make
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.encryption.ondemand import OnDemandKeys
from worker.encryption.opaque import opaque_plan
from worker.errors import DecryptionError
from worker.model import Audit, KeyService, ValueColumn


class Canaries:
    """
    Opens the canary of a keyset, or makes it on the keyset's first use.

    Args:
        service: asked directly, past every cache and guard.
        resolve: a keyset's name, uuid text or None -> its uuid.
        store: where canaries are kept.
        instance: named in the audit.
    """

    def __init__(
        self, service: KeyService, *, resolve: Callable[[str | None], UUID], store: CanaryStore, instance: str
    ) -> None:
        self._service, self._resolve, self._store = service, resolve, store
        self._audit = Audit(instance, purpose="canary")

    def check(self, keyset: str | None) -> None:
        """
        Open the keyset's canary.

        Raises:
            CanaryError: the authority gives other keys than before.
            KeyServiceUnavailable, SinkUnavailable: try again.
        """
        identity = self._resolve(keyset)
        plan = opaque_plan(DESCRIPTOR, str(identity))
        with OnDemandKeys(self._service, self._audit) as keys:

            def seal(song: bytes) -> bytes:
                return BatchEncryptor(keys).encrypt([ValueColumn(plan, [song], [0])]).envelopes[0][0]

            def unseal(canary: bytes) -> bytes:
                opened = BatchDecryptor(keys).decrypt([ValueColumn(plan, [canary], [0])])
                value = opened.values[0][0]
                if value is None:
                    raise DecryptionError("the canary does not open")
                return value

            open_or_make(identity, self._store, seal=seal, unseal=unseal)
