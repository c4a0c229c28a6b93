"""
The key service over HTTP: data keys in batches, derived here from the authority's share and the client key.

Source: protocol 4, 5.3 and 8.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from worker.errors import ConfigError, RegionViolation
from worker.http_client import open_client
from worker.interpreter import on_fork
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest, Specs
from worker.model.receipts import Receipts
from worker.native.keys import joined
from worker.native.requests import NativeAnswers, NativeRequests, Part
from worker.region import PUBLIC_REGIONS
from worker.zerokms.auth import TokenSource, Trust
from worker.zerokms.credentials import Credentials, base_url, host_of, is_allowed
from worker.zerokms.exchange import Exchanges, Keyset, LoadedKeyset, drive, parted
from worker.zerokms.http import Wire
from worker.zerokms.options import FULL, ClientOptions

_T = TypeVar("_T")
_R = TypeVar("_R")
_MOST_KEYS = 1000
"""Keys in a full request of any authority."""
_DERIVING = 3
"""Threads that derive the keys of answers while as many requests as may be are under way."""


class ZeroKMSClient:
    """
    A `KeyService` over the wire, for one client of one workspace; thread-safe.

    Every batch is split into requests of at most `keys_per_request`, several under way at once; order is kept, the
    length of each answer checked, hostile material refused. `receipts` says where the audit has them.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        cts: str | None = None,
        zerokms: str | None = None,
        allow_hosts: tuple[str, ...] = (),
        options: ClientOptions | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.options = ClientOptions() if options is None else options
        self.credentials = credentials
        region = credentials.workspace.region
        if not cts and not region.is_public:
            raise ConfigError(
                f"region {region} is none of the public service's ({', '.join(PUBLIC_REGIONS)}): set CS_CTS_HOST, or "
                "[authority] cts_host, to the address of its own authority"
            )
        self.cts = base_url(cts or region.cts_url, what="the CTS address (CS_CTS_HOST)")
        self.zerokms = base_url(zerokms, what="the ZeroKMS address (CS_ZEROKMS_HOST)") if zerokms else None
        for what, url, own in (("CTS", self.cts, region.cts_url), ("ZeroKMS", self.zerokms, region.zerokms_url)):
            if url is None:
                continue
            if not is_allowed(url, own, allow_hosts):
                raise RegionViolation(
                    f"{what} is {url!r}, region {region} has {repr(own) if own else 'no host of its own'}; "
                    f"list {host_of(url)!r} in allow_hosts if it is this region's"
                )
        self._trust, self._metrics = Trust(allow_hosts, self.options.verify_token), metrics
        self._exchanges = Exchanges(credentials, metrics)
        self.receipts = Receipts()
        self._connect()
        on_fork(self)

    def _connect(self) -> None:
        in_flight = self.options.requests_in_flight
        self._http = open_client(
            connect_timeout_s=self.options.connect_timeout_s,
            timeout_s=self.options.timeout_s,
            connections=in_flight + 1,
            proxy=self.options.proxy,
        )
        self.tokens = TokenSource(self.credentials, self._http, self.cts, trust=self._trust, metrics=self._metrics)
        self._wire = Wire(
            self._http,
            self.tokens,
            self.zerokms,
            in_flight=in_flight,
            metrics=self._metrics,
            receipts=self.receipts,
        )
        self._threads = ThreadPoolExecutor(in_flight + _DERIVING, thread_name_prefix="zerokms")
        self._keysets: dict[str | None, LoadedKeyset] = {}
        self._loading = threading.Lock()

    def after_fork(self) -> None:
        """Begin with connections, threads and a token of the child's own: the parent goes on with its."""
        self._connect()

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        """Return one fresh data key per request; see `KeyService`."""
        specs = Specs.of(requests)
        if len(keysets := specs.keysets) == 1:
            return self._generate_of(self.resolve_keyset(keysets[0]), specs, audit)
        each = [request.keyset for request in requests]
        return self._in_groups(requests, each, lambda ref, part: self._generate(self.resolve_keyset(ref), part, audit))

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> Sequence[DataKey | KeyRefused]:
        """Return each request's data key, or why that one was refused; see `KeyService`."""
        if isinstance(requests, NativeRequests) and self._exchanges.native is not None:
            for only in requests.keysets:
                return self._retrieve_native(only, requests, audit)
        keysets = [request.keyset for request in requests]
        return self._in_groups(requests, keysets, lambda ref, part: self._retrieve(ref, part, audit))

    def load_keyset(self, ref: str | UUID | None = None, *, fresh: bool = False) -> LoadedKeyset:
        """Ask for a keyset by name or uuid, None for the client's own default; the answer is kept, unless `fresh`."""
        name = None if ref is None else str(ref)
        with self._loading:
            if fresh or name not in self._keysets:
                self._keysets[name] = self._load(ref)
            return self._keysets[name]

    def list_keysets(self) -> list[Keyset]:
        """Return the workspace's keysets; raises `KeyAccessDenied` without the scope for it."""
        return drive(self._exchanges.keysets(), self._wire.post_raw)

    def resolve_keyset(self, ref: str | None) -> UUID:
        """Return a keyset's uuid; a uuid is returned as it is."""
        try:
            return UUID(ref) if ref is not None else self.load_keyset(None).id
        except ValueError:
            return self.load_keyset(ref).id

    @property
    def keys_per_request(self) -> int:
        """Keys in a full request."""
        own, its = self.options.keys_per_request, self.tokens.keys_per_request
        return min(_MOST_KEYS, its or FULL) if own is None else own

    def close(self) -> None:
        """Close connections and threads; safe to call twice."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, ref: str | UUID | None) -> LoadedKeyset:
        return drive(self._exchanges.load(ref), self._wire.post_raw)

    def _generate_of(self, keyset: UUID, specs: Specs, audit: Audit) -> Sequence[DataKey]:
        # A keyset that had to be looked up has brought a token, which says how many keys go into a request.
        size = self.keys_per_request
        if len(specs) <= size:
            return self._generate(keyset, specs, audit)
        parts = [specs[start : start + size] for start in range(0, len(specs), size)]
        return joined(list(self._threads.map(lambda part: self._generate(keyset, part, audit), parts)))

    def _generate(self, keyset: UUID, specs: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        return drive(self._exchanges.generate(keyset, specs, audit), self._wire.post_raw)

    def _retrieve(
        self, keyset: UUID | None, requests: Sequence[RetrieveRequest], audit: Audit
    ) -> list[DataKey | KeyRefused]:
        resolved = self.resolve_keyset(None) if keyset is None else keyset
        return drive(self._exchanges.retrieve(resolved, requests, audit), self._wire.post_raw)

    def _retrieve_native(self, keyset: UUID | None, requests: NativeRequests, audit: Audit) -> NativeAnswers:
        resolved = self.resolve_keyset(None) if keyset is None else keyset
        size = self.keys_per_request

        def ask(start: int) -> Part:
            stop = min(start + size, len(requests))
            exchange = self._exchanges.retrieve_native(resolved, requests, start, stop, audit)
            return drive(exchange, self._wire.post_raw)

        starts = range(0, len(requests), size)
        return NativeAnswers([ask(0)] if len(starts) == 1 else list(self._threads.map(ask, starts)))

    def _in_groups(
        self, requests: Sequence[_T], keysets: Sequence[Any], ask: Callable[[Any, Sequence[_T]], Sequence[_R]]
    ) -> Sequence[_R]:
        """Ask once per keyset and `keys_per_request`, at once where there are several; keep the order."""
        jobs = parted(requests, keysets, self.keys_per_request)
        if len(jobs) == 1:
            return ask(jobs[0][0], jobs[0][2])
        answers = list(self._threads.map(lambda job: ask(job[0], job[2]), jobs))
        if len({ref for ref, _, _ in jobs}) == 1:
            return joined(answers)
        found: dict[int, _R] = {}
        for (_, at, _), answer in zip(jobs, answers, strict=True):
            found.update(zip(at, answer, strict=True))
        return [found[i] for i in range(len(requests))]
