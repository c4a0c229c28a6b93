"""Several regions behind one object: each envelope goes to the region that owns its keyset, and to no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self, Unpack
from uuid import UUID

from worker.encryption.anyform import AnyEnvelope, parse
from worker.errors import ConfigError, WorkerError
from worker.interpreter import Unpicklable, on_fork
from worker.sdk import checked
from worker.sdk.calls import Source
from worker.sdk.client import Encryption, prefixes
from worker.sdk.options import (
    DecryptOptions,
    EncryptOptions,
    EnvironmentOptions,
    Errors,
    Reading,
    RecordsOptions,
)
from worker.sdk.owners import Owners
from worker.sdk.prepared import raised
from worker.sdk.routed import Found, Reader, RoutedKeys, keyset_of, placed
from worker.sdk.rows import Row, Table, known
from worker.sdk.values import Described


class Regions(Unpicklable):
    """
    Clients of several regions; thread-safe.

    An envelope goes to the region whose own list of keysets has its keyset; of a call, each region gets one batch, and
    nothing of another's. A keyset of no list is refused here, without asking anyone. Where the caller knows the region
    of what it reads, `region` says so: an envelope of another region's keyset is then refused.

    Args:
        clients: one of each region; closed together with this.

    Raises:
        ConfigError: two clients of one region, or one without a region.

    Example:
        >>> with Regions([eu, ap]) as regions:
        ...     envelope = regions["eu-central-1"].encrypt("ann@x", field="acme.crm.Customer/email")
        ...     regions.decrypt(envelope, field="acme.crm.Customer/email")
        'ann@x'
    """

    def __init__(self, clients: Sequence[Encryption]) -> None:
        self._clients: dict[str, Encryption] = {}
        for client in checked.several(clients, "clients", "Encryption itself"):
            if not client.region:
                raise ConfigError("a client over a key service of one's own has no region; route yourself")
            if client.region in self._clients:
                raise ConfigError(f"two clients are of {client.region}; keep one, or route between them yourself")
            self._clients[client.region] = client
        if not self._clients:
            raise ConfigError("Regions takes at least one client")
        self.after_fork()
        on_fork(self)

    def after_fork(self) -> None:
        """Begin with threads of the child's own, and ask the lists anew."""
        self._owners = Owners(self._clients, lambda region: (k.id for k in self._clients[region].keysets()))
        self._threads = ThreadPoolExecutor(len(self._clients), thread_name_prefix="regions")

    @classmethod
    def from_env(cls, *among: str, **options: Unpack[EnvironmentOptions]) -> Self:
        """
        Read one client for each prefix, as `CS_EU_` and `CS_AP_`.

        Args:
            among: the prefixes; without any, all under which the environment names a workspace.
            options: `EnvironmentOptions`, the same for each.
        """
        environ = options.get("environ")
        found = among or tuple(prefixes(os.environ if environ is None else environ))
        if not found:
            raise ConfigError("the environment names no workspace: set CS_EU_WORKSPACE_CRN and the rest, or CS_...")
        with ExitStack() as stack:
            clients = [stack.enter_context(Encryption.from_env(prefix, **options)) for prefix in found]
            made = cls(clients)
            stack.pop_all()
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close every client; safe to call twice."""
        self._threads.shutdown(wait=True)
        for client in self._clients.values():
            client.close()

    def __getitem__(self, region: str) -> Encryption:
        """One region's client; raises `KeyAccessDenied` for a region without credentials."""
        self._owners.expect(region)
        return self._clients[region]

    def __iter__(self) -> Iterator[str]:
        """The regions' names."""
        return iter(self._clients)

    def __len__(self) -> int:
        """How many regions there are."""
        return len(self._clients)

    @contextmanager
    def because(self, reason: str) -> Iterator[None]:
        """Give a reason to every call to every region within the block; see `Encryption.because`."""
        with ExitStack() as stack:
            for client in self._clients.values():
                within: AbstractContextManager[None] = client.because(reason)
                stack.enter_context(within)
            yield

    def encrypt(self, value: object, *, field: str, region: str, **options: Unpack[EncryptOptions]) -> bytes:
        """Return one value's envelope under a key of a region; see `Encryption.encrypt`."""
        return self[region].encrypt(value, field=field, **options)

    def encrypt_many(
        self, values: Sequence[object], *, field: str, region: str, **options: Unpack[EncryptOptions]
    ) -> list[bytes]:
        """Encrypt values of one field under keys of a region; see `Encryption.encrypt_many`."""
        return self[region].encrypt_many(values, field=field, **options)

    def decrypt(
        self,
        envelope: AnyEnvelope,
        *,
        field: str | None = None,
        region: str | None = None,
        **options: Unpack[DecryptOptions],
    ) -> Any:
        """Return one envelope's value; see `decrypt_many`."""
        return self.decrypt_many([envelope], field=field, region=region, **options)[0]

    def decrypt_described(
        self, envelope: AnyEnvelope, *, region: str | None = None, **options: Unpack[DecryptOptions]
    ) -> Described:
        """Return a value found without a place, and the descriptor that its envelope carries."""
        return Described(self.decrypt(envelope, region=region, **options), parse(envelope).descriptor)

    def decrypt_many(
        self,
        envelopes: Sequence[AnyEnvelope],
        *,
        field: str | None = None,
        region: str | None = None,
        errors: Errors = "raise",
        **options: Unpack[DecryptOptions],
    ) -> list[Any]:
        """
        Decrypt envelopes of whichever region, one batch a region.

        Args:
            envelopes: as `Encryption.decrypt_many`.
            field: likewise.
            region: where they were found is of this region; an envelope of another's keyset is refused.
            errors: `raise` the first value's, or `return` each in its value's place: one of a region without
                credentials costs its own place only.
            options: `DecryptOptions`.

        Raises:
            KeyAccessDenied: an envelope's keyset is of no region here; the message names it.
            RegionViolation: two regions claim one keyset.
            WorkerError: as `Encryption.decrypt_many`.
        """
        checked.errors(errors)
        several = checked.several(envelopes, "envelopes", "decrypt")
        keysets = [keyset_of(envelope) for envelope in several]

        def ask(client: Encryption, at: list[int]) -> list[Any]:
            return client.decrypt_many([several[i] for i in at], field=field, errors="return", **options)

        return raised(self._routed(keysets, region, ask), errors)

    def decrypt_records(
        self,
        datums: Sequence[bytes],
        *,
        schema: str,
        region: str | None = None,
        errors: Errors = "raise",
        **options: Unpack[RecordsOptions],
    ) -> list[Any]:
        """
        Decrypt whole records; see `Encryption.decrypt_records`.

        Args:
            datums: likewise.
            schema: likewise.
            region: whose topic they are of; an envelope of another region's keyset is then refused, before the context
                that goes with it could be sent there.
            errors: likewise.
            options: `RecordsOptions`.
        """
        given = Reading(**options)
        return self._any.restored(datums, schema, given, errors, self.source(region, given.reason))

    def decrypt_row(
        self, row: Row, *, table: Table | str, key: bytes | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        """Return one row in the clear; see `decrypt_rows`."""
        found: dict[str, Any] = self.decrypt_rows([row], table=table, keys=[key], reason=reason)[0]
        return found

    def decrypt_rows(
        self,
        rows: Sequence[Row],
        *,
        table: Table | str,
        keys: Sequence[bytes | None] | None = None,
        errors: Errors = "raise",
        reason: str | None = None,
    ) -> list[Any]:
        """Decrypt rows of a table, of the region that the `Table` names; see `Encryption.decrypt_rows`."""
        named = known(table)
        return self._any.opened_rows(rows, named, keys, errors, reason, self.source(named.region, reason))

    def reader(self, region: str) -> Reader:
        """Return what reads single records of a region's topics."""
        self._owners.expect(region)

        def read(datum: bytes, schema: str, key: bytes | None, clear: Sequence[str]) -> dict[str, object]:
            return self._any.restored_one(datum, schema, key, clear, self.source(region, None))

        return read

    @property
    def _any(self) -> Encryption:
        """Whose code is used where the keys are several regions'."""
        return next(iter(self._clients.values()))

    def _expect(self, region: str | None) -> None:
        self._any.expect_open()
        if region is not None:
            self._owners.expect(region)

    def source(self, region: str | None, reason: str | None) -> Source:
        """Return what gives the keys of one call that decrypts what is of a region; None for whichever."""
        self._expect(region)
        return lambda: RoutedKeys(self._owners, lambda name: self._clients[name].reading(reason), region)

    def _routed(
        self,
        keysets: Sequence[UUID | WorkerError | None],
        region: str | None,
        ask: Callable[[Encryption, list[int]], list[Any]],
    ) -> list[Any]:
        self._expect(region)
        out: list[Any] = list(keysets)
        groups: dict[str, list[int]] = {}
        owners = self._owners.of(keyset for keyset in keysets if isinstance(keyset, UUID))
        for i, keyset in enumerate(keysets):
            if isinstance(keyset, WorkerError):
                continue
            place = placed(keyset, owners, region)
            if isinstance(place, WorkerError):
                out[i] = place
            else:
                groups.setdefault(place, []).append(i)
        for at, found in self._asked(groups, ask):
            for i, value in zip(at, found, strict=True):
                out[i] = value
        return out

    def _asked(
        self, groups: Mapping[str, list[int]], ask: Callable[[Encryption, list[int]], list[Any]]
    ) -> Iterator[Found]:
        def one(region: str, at: list[int]) -> Found:
            try:
                return at, ask(self._clients[region], at)
            except WorkerError as exc:
                if isinstance(exc, ConfigError):
                    raise
                return at, [exc] * len(at)

        if len(groups) == 1:
            yield one(*next(iter(groups.items())))
            return
        # The reason of the caller's thread goes with each.
        contexts = [copy_context() for _ in groups]
        jobs = zip(contexts, groups.items(), strict=True)
        try:
            asked = [self._threads.submit(context.run, one, region, at) for context, (region, at) in jobs]
        except RuntimeError:
            raise ConfigError(checked.CLOSED) from None  # Meanwhile, by another thread.
        yield from [job.result() for job in asked]
