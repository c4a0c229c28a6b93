"""As whom keys are asked for: one client that opens what is old, one that seals, often the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self
from uuid import UUID

from worker.avro import CompiledSchema
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.errors import RegionViolation
from worker.metrics import Metrics
from worker.model import Audit, KeyService
from worker.model.keys import Purpose
from worker.pipeline.search import SearchTerms
from worker.rekey.recode import Recoder
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.keys import IndexKeys, KeyCache, KeyOptions, RetrievedKeys
from worker.zerokms.resilient import resilient


class KeyHolder:
    """
    One client's keys for one command.

    Args:
        client: closed by whoever made it.
        service: what is asked for data keys, where it is more than the client with retries: guarded by canaries.
        audit: what every request says: the instance, what it is for, and why.
        options: how long and how many keys are held.
        metrics: where hits and waits are counted.
    """

    def __init__(
        self,
        client: ZeroKMSClient,
        audit: Callable[[Purpose], Audit],
        *,
        service: KeyService | None = None,
        options: KeyOptions | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.client, self._audit = client, audit
        self._service = resilient(client, metrics=metrics) if service is None else service
        self._options = KeyOptions() if options is None else options
        self._metrics, self._closing = metrics, ExitStack()
        self._index = IndexKeys(lambda ref: client.load_keyset(ref, fresh=True), max_age_s=self._options.max_age_s)

    @property
    def region(self) -> str:
        """The workspace's."""
        return str(self.client.credentials.workspace.region)

    def decryptor(self) -> BatchDecryptor:
        """Make what opens under this client's keys."""
        keys = RetrievedKeys(self._service, options=self._options, audit=self._audit("decrypt"), metrics=self._metrics)
        self._closing.callback(keys.close)
        return BatchDecryptor(keys)

    def encryptor(self) -> BatchEncryptor:
        """Make what seals under this client's keys."""
        keys = KeyCache(self._service, options=self._options, audit=self._audit("encrypt"), metrics=self._metrics)
        self._closing.callback(keys.close)
        return BatchEncryptor(keys)

    def resolve(self, keyset: str | None) -> UUID:
        """Return a keyset's uuid; raises `KeyAccessDenied` where this client may not use it."""
        return self.client.resolve_keyset(keyset)

    def index_key(self, keyset: str | None) -> bytes:
        """Return a keyset's index key; raises as `IndexKeys.get`."""
        return self._index.get(keyset).index_key

    def close(self) -> None:
        """Wipe every key held; safe to call twice."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Way:
    """
    From old keys to new ones.

    Args:
        old: opens.
        new: seals, and opens what was sealed with keys that it asks for again.

    Raises:
        RegionViolation: they are of two regions.
    """

    def __init__(self, old: KeyHolder, new: KeyHolder) -> None:
        if old.region != new.region:
            raise RegionViolation(
                f"the old credentials are of {old.region!r}, the new ones of {new.region!r}: "
                "a rekey keeps data in its region"
            )
        self.new, self.region = new, new.region
        self._opener, self._sealer, self._prover = old.decryptor(), new.encryptor(), new.decryptor()

    def recoder(self, stored: str, compiled: CompiledSchema, searchable: Sequence[str] = ()) -> Recoder:
        """
        Make what encrypts one schema's records anew.

        Args:
            stored: the output schema of what comes.
            compiled: how it is sealed.
            searchable: the fields that are stored with search terms.
        """
        terms = None
        if searchable:
            terms = SearchTerms(self.new.index_key, default_keyset=None, columns=searchable)
        return Recoder(stored, compiled, opener=self._opener, sealer=self._sealer, prover=self._prover, terms=terms)
