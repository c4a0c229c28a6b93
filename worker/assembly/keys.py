"""The keys of one region: who is asked for them, in which order, and what is held."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import UUID

from worker.assembly.context import Context
from worker.canary.canary import KeptCanaries
from worker.canary.guard import GuardedKeyService
from worker.canary.keyset import Canaries
from worker.canary.topic import CanaryTopic
from worker.encryption.pseudonym import Pseudonyms
from worker.kafka.properties import Property
from worker.model import Audit, KeyService
from worker.model.keys import Purpose
from worker.model.receipts import Receipts
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.exchange import LoadedKeyset
from worker.zerokms.keys import Budget, IndexKeys, KeyCache, RetrievedKeys
from worker.zerokms.resilient import resilient


@dataclass(frozen=True, slots=True)
class KeyStack:
    """
    The way to the keys.

    Args:
        service: asked for data keys.
        index_keys: asked for keysets with their index keys.
        client: the authority itself, below every guard; it resolves keysets' names.
        canaries: prove that the authority gives the keys it gave before.
    """

    service: KeyService
    index_keys: IndexKeys
    client: ZeroKMSClient
    canaries: Canaries


def key_stack(context: Context, client: ZeroKMSClient, connection: Mapping[str, Property]) -> KeyStack:
    """
    Compose the way to the keys: a batch asks its cache, the cache asks the retries, these the canary's guard, that the
    authority.

    Args:
        context: the worker's.
        client: the authority's.
        connection: the region's cluster, where the canaries lie.
    """
    settings = context.settings
    canaries = Canaries(
        client,
        resolve=client.resolve_keyset,
        store=KeptCanaries(CanaryTopic(connection, region=settings.region)),
        instance=context.instance,
        erasable=lambda keyset: client.load_keyset(keyset).is_erasable,
    )
    guarded = GuardedKeyService(
        client,
        canaries.check,
        canaries.vouch,
        keys_per_request=lambda: client.keys_per_request,
        metrics=context.metrics,
        witness=canaries.witness,
    )
    service = resilient(guarded, metrics=context.metrics)

    def load(keyset: str | None) -> LoadedKeyset:
        # As for data keys: an authority that gives other keys than before would split every key's history.
        canaries.check(keyset)
        loaded = client.load_keyset(keyset, fresh=True)
        canaries.check_index(loaded)
        return loaded

    return KeyStack(service, IndexKeys(load, max_age_s=settings.keys.max_age_s), client, canaries)


class KeyCaches:
    """
    Every cache of one worker, made over one stack, rotated and wiped together.

    Args:
        context: the worker's; `[keys]` bounds each cache.
        stack: what the caches ask.
    """

    def __init__(self, context: Context, stack: KeyStack) -> None:
        self._context, self._stack = context, stack
        self._options = context.settings.keys
        self._caches: list[KeyCache | RetrievedKeys] = []
        self._pseudonyms: dict[UUID, Pseudonyms] = {}
        self._closing = ExitStack()
        self._budget = Budget(self._options.budget_bytes, context.metrics)

    def encryption(self, route: str, purpose: Purpose) -> KeyCache:
        """Make a cache of keys to encrypt with, for a route and what its audit calls `purpose`."""
        audit = Audit(self._context.instance, route, purpose)
        cache = KeyCache(
            self._stack.service,
            options=self._options,
            audit=audit,
            metrics=self._context.metrics,
            budget=self._budget,
        )
        self._keep(cache)
        return cache

    def decryption(self, route: str, purpose: Purpose) -> RetrievedKeys:
        """Make a cache of keys to decrypt with."""
        audit = Audit(self._context.instance, route, purpose)
        cache = RetrievedKeys(self._stack.service, options=self._options, audit=audit, metrics=self._context.metrics)
        self._keep(cache)
        return cache

    def pseudonyms(self, keyset: str | None) -> Pseudonyms:
        """Return a keyset's pseudonyms; raises as `IndexKeys.get`."""
        loaded = self._stack.index_keys.get(keyset)
        if loaded.id not in self._pseudonyms:
            self._pseudonyms[loaded.id] = Pseudonyms(loaded.id, loaded.index_key)
        return self._pseudonyms[loaded.id]

    def index_key(self, keyset: str | None) -> bytes:
        """Return a keyset's index key; raises as `IndexKeys.get`."""
        return self._stack.index_keys.get(keyset).index_key

    @property
    def receipts(self) -> Receipts:
        """What the authority's audit said of the requests, until a ledger has it."""
        return self._stack.client.receipts

    def resolve(self, keyset: str | None) -> UUID:
        """Return a keyset's uuid."""
        return self._stack.client.resolve_keyset(keyset)

    def has_canary(self, keyset: str | None) -> bool:
        """Open a keyset's canary; returns whether there is one yet; raises as `Canaries.check`."""
        return self._stack.canaries.check_made(keyset)

    def rotate(self) -> None:
        """Drop every key held: pools and leases are filled anew."""
        self._stack.index_keys.forget()
        for cache in self._caches:
            cache.rotate()

    def close(self) -> None:
        """Wipe and close all keys; safe to call twice."""
        self._closing.close()

    def _keep(self, cache: KeyCache | RetrievedKeys) -> None:
        self._caches.append(cache)
        self._closing.callback(cache.close)
