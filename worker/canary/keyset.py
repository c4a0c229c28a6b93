"""How a worker opens its keysets' canaries: the store beside the data, the envelope of the stage of encryption."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID, uuid5

import structlog

from worker.canary.canary import DESCRIPTOR, REFUSED, CanaryStore, open_or_make, opens, wrong
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.encryption.leased import LeasedEnvelope
from worker.encryption.ondemand import OnDemandKeys
from worker.encryption.opaque import opaque_plan
from worker.errors import CanaryError, DecryptionError
from worker.model import Audit, DataKey, KeyRefused, KeyService, RetrieveRequest, ValueColumn
from worker.zerokms.exchange import LoadedKeyset

_log = structlog.get_logger(__name__)


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

            if open_or_make(identity, self._store, seal=seal, unseal=partial(self._unseal, identity)):
                _log.info("canary_made", keyset=str(identity))

    def check_made(self, keyset: str | None) -> bool:
        """Open the keyset's canary where there is one, and make none; returns whether there was; raises as `check`."""
        identity = self._resolve(keyset)
        canary = self._store.load(identity)
        if canary is not None:
            opens(identity, partial(self._unseal, identity, canary))
        return canary is not None

    def _unseal(self, identity: UUID, canary: bytes) -> bytes:
        asked = LeasedEnvelope.parse(canary)
        request = RetrieveRequest(asked.keyset, asked.iv, asked.tag, DESCRIPTOR)
        (key,) = self._service.retrieve([request], self._audit)
        try:
            return self._opened(identity, canary, key)
        finally:
            if isinstance(key, DataKey):
                key.wipe()

    def vouch(self, keyset: str | None, witnesses: Sequence[DataKey]) -> None:
        """
        Ask for the canary's key and for witnesses again, in one request, and compare.

        Args:
            keyset: name, uuid text or None.
            witnesses: keys under the canary's descriptor, each of another answer of the authority.

        Raises:
            CanaryError: the authority that answers does not open the canary, or did not give a witness.
            KeyServiceUnavailable, SinkUnavailable: try again.
        """
        identity = self._resolve(keyset)
        canary = self._store.load(identity)
        if canary is None:
            raise CanaryError(f"the canary of keyset {identity} is not there any more; check the canary's store")
        envelope = LeasedEnvelope.parse(canary)
        asked = [
            RetrieveRequest(envelope.keyset, envelope.iv, envelope.tag, DESCRIPTOR),
            *(RetrieveRequest(w.keyset, w.iv, w.tag, w.descriptor, (), w.policy) for w in witnesses),
        ]
        answers = self._service.retrieve(asked, self._audit)
        try:
            opens(identity, lambda: self._opened(identity, canary, answers[0]))
            for witness, answer in zip(witnesses, answers[1:], strict=True):
                if isinstance(answer, KeyRefused) or not hmac.compare_digest(answer.secret, witness.secret):
                    raise CanaryError(wrong(identity))
        finally:
            for answer in answers:
                if isinstance(answer, DataKey):
                    answer.wipe()

    def check_index(self, keyset: LoadedKeyset) -> None:
        """
        Compare an index key with the first one that the keyset gave, of which a check value is kept.

        Raises:
            CanaryError: it is another one.
            SinkUnavailable: try again.
        """
        place = uuid5(keyset.id, "index key")
        told = hmac.digest(keyset.index_key, b"the keyset's index key", "sha256")
        if self._store.load(place) is None:
            self._store.save(place, told)
        kept = self._store.load(place)
        if kept is None or not hmac.compare_digest(kept, told):
            raise CanaryError(wrong(keyset.id))

    def _opened(self, identity: UUID, canary: bytes, key: DataKey | KeyRefused) -> bytes:
        if isinstance(key, KeyRefused):
            raise DecryptionError(f"the authority refuses the canary's key: {key.reason}", code=REFUSED)
        plan = opaque_plan(DESCRIPTOR, str(identity))
        value = BatchDecryptor(_Given(key)).decrypt([ValueColumn(plan, [canary], [0])]).values[0][0]
        if value is None:
            raise DecryptionError("the canary does not open")
        return value


class _Given:
    """One key that is there already, as decryption asks for it."""

    def __init__(self, key: DataKey | KeyRefused) -> None:
        self._key = key

    def keys(self, requests: Sequence[RetrieveRequest]) -> list[DataKey | KeyRefused]:
        """Return the key for the one request there is."""
        return [self._key for _ in requests]
