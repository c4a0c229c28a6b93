"""How a worker opens its keysets' canaries: the store beside the data, the envelope of the stage of encryption."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID, uuid5

import structlog

from worker.canary.canary import DESCRIPTOR, REFUSED, CanaryStore, open_or_make, opens, wrong
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.encryption.leased import LeasedEnvelope
from worker.encryption.ondemand import OnDemandKeys
from worker.encryption.opaque import opaque_plan
from worker.errors import CanaryError, DecryptionError
from worker.model import Audit, DataKey, KeyRefused, KeyService, KeySpec, RetrieveRequest, Value, ValueColumn
from worker.zerokms.exchange import LoadedKeyset

_log = structlog.get_logger(__name__)
TREE = (Value("zk-canary", "tree"),)
"""The context of an erasable keyset's second canary; the authority lets nobody erase it."""


class Canaries:
    """
    Opens the canary of a keyset, or makes it on the keyset's first use.

    Args:
        service: asked directly, past every cache and guard.
        resolve: a keyset's name, uuid text or None -> its uuid.
        store: where canaries are kept.
        instance: named in the audit.
        erasable: whether a keyset is, by name, uuid text or None. Such a one has a second canary, which depends on the
            keyset's tree: its context is a value that can't be erased.
    """

    def __init__(
        self,
        service: KeyService,
        *,
        resolve: Callable[[str | None], UUID],
        store: CanaryStore,
        instance: str,
        erasable: Callable[[str | None], bool] = lambda _keyset: False,
    ) -> None:
        self._service, self._resolve, self._store = service, resolve, store
        self._erasable = erasable
        self._audit = Audit(instance, purpose="canary")

    def check(self, keyset: str | None) -> None:
        """
        Open the keyset's canary.

        Raises:
            CanaryError: the authority gives other keys than before.
            KeyServiceUnavailable, SinkUnavailable: try again.
        """
        for kind in self._kinds(keyset):
            with OnDemandKeys(self._service, self._audit) as keys:

                def seal(song: bytes, kind: _Kind = kind, keys: OnDemandKeys = keys) -> bytes:
                    return BatchEncryptor(keys).encrypt([kind.column(song)]).envelopes[0][0]

                try:
                    made = open_or_make(kind.place, self._store, seal=seal, unseal=partial(self._unseal, kind))
                except CanaryError as exc:
                    # The first one opened, so it is not our half that is wrong.
                    raise CanaryError(wrong(kind.keyset)) if kind.context else exc from exc
            if made and not kind.context:
                _log.info("canary_made", keyset=str(kind.keyset))

    def check_made(self, keyset: str | None) -> bool:
        """Open the keyset's canary where there is one, and make none; returns whether there was; raises as `check`."""
        kinds = self._kinds(keyset)
        canaries = [self._store.load(kind.place) for kind in kinds]
        for kind, canary in zip(kinds, canaries, strict=True):
            if canary is not None:
                opens(kind.keyset, partial(self._unseal, kind, canary))
        return canaries[0] is not None

    def witness(self, keyset: str | None) -> KeySpec:
        """Return what a witness is asked for as: in an erasable keyset its key depends on the tree too."""
        return KeySpec(keyset, DESCRIPTOR, TREE if self._erasable(keyset) else ())

    def _kinds(self, keyset: str | None) -> list[_Kind]:
        identity = self._resolve(keyset)
        plain = _Kind(identity, identity)
        return [plain, _Kind(identity, uuid5(identity, "tree"), TREE)] if self._erasable(keyset) else [plain]

    def _unseal(self, kind: _Kind, canary: bytes) -> bytes:
        (key,) = self._service.retrieve([kind.request(canary)], self._audit)
        try:
            return self._opened(kind, canary, key)
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
        kinds = self._kinds(keyset)
        identity, context = kinds[0].keyset, kinds[-1].context
        canaries: list[bytes] = []
        for kind in kinds:
            canary = self._store.load(kind.place)
            if canary is None:
                raise CanaryError(f"the canary of keyset {identity} is not there any more; check the canary's store")
            canaries.append(canary)
        asked = [
            *(kind.request(canary) for kind, canary in zip(kinds, canaries, strict=True)),
            *(RetrieveRequest(w.keyset, w.iv, w.tag, w.descriptor, context, w.policy) for w in witnesses),
        ]
        answers = self._service.retrieve(asked, self._audit)
        try:
            for kind, canary, answer in zip(kinds, canaries, answers, strict=False):
                opens(identity, partial(self._opened, kind, canary, answer))
            for witness, answer in zip(witnesses, answers[len(kinds) :], strict=True):
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

    def _opened(self, kind: _Kind, canary: bytes, key: DataKey | KeyRefused) -> bytes:
        if isinstance(key, KeyRefused):
            raise DecryptionError(f"the authority refuses the canary's key: {key.reason}", code=REFUSED)
        value = BatchDecryptor(_Given(key)).decrypt([kind.column(canary)]).values[0][0]
        if value is None:
            raise DecryptionError("the canary does not open")
        return value


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of a keyset's canaries: where it is kept, and the context of its key."""

    keyset: UUID
    place: UUID
    context: tuple[Value, ...] = ()

    def column(self, value: bytes) -> ValueColumn:
        """Return a column of one value, clear or sealed."""
        plan = replace(opaque_plan(DESCRIPTOR, str(self.keyset)), context=tuple(each.name for each in self.context))
        contexts = [tuple(each.value for each in self.context)] if self.context else None
        return ValueColumn(plan, [value], [0], contexts)

    def request(self, canary: bytes) -> RetrieveRequest:
        """Return what the canary's key is asked for as."""
        asked = LeasedEnvelope.parse(canary)
        return RetrieveRequest(asked.keyset, asked.iv, asked.tag, DESCRIPTOR, self.context)


class _Given:
    """One key that is there already, as decryption asks for it."""

    def __init__(self, key: DataKey | KeyRefused) -> None:
        self._key = key

    def keys(self, requests: Sequence[RetrieveRequest]) -> list[DataKey | KeyRefused]:
        """Return the key for the one request there is."""
        return [self._key for _ in requests]
