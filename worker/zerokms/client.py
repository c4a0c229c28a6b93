"""
The key service over HTTP: data keys in batches, derived here from the authority's share and the client key.

Source: protocol 4, 5.3 and 8.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import orjson
from pydantic import Field

from worker.errors import KeyAccessDenied, KeyMaterialError, RegionViolation
from worker.http_client import open_client
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest
from worker.native.keys import joined
from worker.native.requests import NativeAnswers, NativeRequests, Part
from worker.options import Options
from worker.zerokms import wire
from worker.zerokms.auth import TokenSource
from worker.zerokms.calls import Call, native_key
from worker.zerokms.credentials import Credentials, base_url, host_of, is_allowed
from worker.zerokms.derive import IV_BYTES, check_material, index_key
from worker.zerokms.http import Wire

_T = TypeVar("_T")
_R = TypeVar("_R")


class WireOptions(Options):
    """How the key service is spoken to."""

    timeout_s: float = Field(default=10.0, gt=0)
    """Bound of one request."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Bound of connecting."""
    verify_token: bool = True
    """Verify the service token's signature against the authority's keys."""
    proxy: str | None = None
    """URL of a proxy to go through; the environment's are not looked at."""


class ClientOptions(WireOptions):
    """How the key service is spoken to, and how much is asked at once; a worker takes the latter from `[keys]`."""

    keys_per_request: int = Field(default=500, ge=1, le=500)
    """Keys in a full request."""
    requests_in_flight: int = Field(default=5, ge=1, le=64)
    """Requests under way at once."""


@dataclass(frozen=True, slots=True)
class LoadedKeyset:
    """A keyset as the service names it, with its index key of 32 bytes."""

    id: UUID
    name: str
    index_key: bytes = field(repr=False)
    is_disabled: bool = False


class ZeroKMSClient:
    """
    A `KeyService` over the wire, for one client of one workspace; thread-safe.

    Every batch is split into requests of at most `keys_per_request`, several under way at once; order is kept, the
    length of each answer checked, hostile material refused.
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
        self.cts = base_url(cts or region.cts_url, what="the CTS address")
        self.zerokms = base_url(zerokms, what="the ZeroKMS address") if zerokms else None
        for what, url, own in (("CTS", self.cts, region.cts_url), ("ZeroKMS", self.zerokms, region.zerokms_url)):
            if url is None:
                continue
            if not is_allowed(url, own, allow_hosts):
                raise RegionViolation(
                    f"{what} is {url!r}, region {region} has {own!r}; "
                    f"list {host_of(url)!r} in allow_hosts if it is this region's"
                )
        in_flight = self.options.requests_in_flight
        self._http = open_client(
            connect_timeout_s=self.options.connect_timeout_s,
            timeout_s=self.options.timeout_s,
            connections=in_flight + 1,
            proxy=self.options.proxy,
        )
        self.tokens = TokenSource(
            credentials,
            self._http,
            self.cts,
            allow_hosts=allow_hosts,
            verify=self.options.verify_token,
            metrics=metrics,
        )
        self._native_key = native_key(credentials.client_key)
        self._wire = Wire(self._http, self.tokens, self.zerokms, in_flight=in_flight, metrics=metrics)
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="zerokms")
        self._metrics = metrics
        self._keysets: dict[str | None, LoadedKeyset] = {}
        self._loading = threading.Lock()

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        """Return one fresh data key per request; see `KeyService`."""
        refs = {request.keyset for request in requests}
        if len(refs) > 1:
            return self._in_groups(requests, lambda r: r.keyset, lambda ref, part: self._generate(ref, part, audit))
        size = self.options.keys_per_request
        parts = [requests[i : i + size] for i in range(0, len(requests), size)]
        if len(parts) == 1:
            return self._generate(requests[0].keyset, requests, audit)
        return joined(self._threads.map(lambda part: self._generate(part[0].keyset, part, audit), parts))

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> Sequence[DataKey | KeyRefused]:
        """Return each request's data key, or why that one was refused; see `KeyService`."""
        if isinstance(requests, NativeRequests) and self._native_key is not None:
            for keyset in requests.keysets:
                return self._retrieve_native(requests, keyset, audit)
        return self._in_groups(requests, lambda r: r.keyset, lambda ref, part: self._retrieve(ref, part, audit))

    def load_keyset(self, ref: str | UUID | None = None, *, fresh: bool = False) -> LoadedKeyset:
        """Ask for a keyset by name or uuid, None for the client's own default; the answer is kept, unless `fresh`."""
        name = None if ref is None else str(ref)
        with self._loading:
            if fresh or name not in self._keysets:
                self._keysets[name] = self._load(ref)
            return self._keysets[name]

    def resolve_keyset(self, ref: str | None) -> UUID:
        """Return a keyset's uuid; a uuid is returned as it is."""
        try:
            return UUID(ref) if ref is not None else self.load_keyset(None).id
        except ValueError:
            return self.load_keyset(ref).id

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
        body = {"client_id": str(self.credentials.client_id), "keyset_id": wire.keyset_reference(ref)}
        reply = self._wire.post("load-keyset", orjson.dumps(body))
        try:
            dataset = reply["dataset"]
            data = wire.material(reply["partial_index_key"]["key_material"])
            identity, name, disabled = UUID(dataset["id"]), str(dataset["name"]), bool(dataset["is_disabled"])
        except (KeyError, TypeError, ValueError) as exc:
            raise KeyMaterialError("load-keyset: the answer has another shape than the protocol's") from exc
        check_material(self.credentials.client_key, bytes(IV_BYTES), data)
        return LoadedKeyset(identity, name, index_key(self.credentials.client_key, data), disabled)

    def _in_groups(
        self,
        requests: Sequence[_T],
        key: Callable[[_T], Any],
        ask: Callable[[Any, Sequence[_T]], Sequence[_R]],
    ) -> list[_R]:
        """Ask once per keyset and `keys_per_request`, at once where there are several; keep the order."""
        groups: dict[Any, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(key(request), []).append(i)
        size = self.options.keys_per_request
        parts = [(ref, at[i : i + size]) for ref, at in groups.items() for i in range(0, len(at), size)]
        jobs = [(ref, [requests[i] for i in at]) for ref, at in parts]
        answers: Iterable[Sequence[_R]] = (
            (ask(*jobs[0]),) if len(jobs) == 1 else self._threads.map(lambda job: ask(*job), jobs)
        )
        found: dict[int, _R] = {}
        for (_, at), answer in zip(parts, answers, strict=True):
            found.update(zip(at, answer, strict=True))
        return [found[i] for i in range(len(requests))]

    def _generate(self, ref: str | None, specs: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        call = self._call(self.resolve_keyset(ref), audit)
        keys = call.generate(specs, self._asks("generate-data-key", call, len(specs)))
        self._count("generated", len(specs))
        return keys

    def _retrieve(
        self, keyset: UUID | None, requests: Sequence[RetrieveRequest], audit: Audit
    ) -> list[DataKey | KeyRefused]:
        call = self._call(self.resolve_keyset(None) if keyset is None else keyset, audit)
        try:
            answers = call.retrieve(requests, self._asks("retrieve-data-key-fallible", call, len(requests)))
        except KeyAccessDenied as exc:
            return [KeyRefused(str(exc))] * len(requests)
        self._count("retrieved", len(requests))
        return answers

    def _retrieve_native(self, requests: NativeRequests, keyset: UUID | None, audit: Audit) -> NativeAnswers:
        resolved, size = self.resolve_keyset(None) if keyset is None else keyset, self.options.keys_per_request

        def ask(start: int) -> Part:
            stop, call = min(start + size, len(requests)), self._call(resolved, audit)
            post = self._asks("retrieve-data-key-fallible", call, stop - start)
            try:
                part = call.retrieve_native(requests, start, stop, post)
            except KeyAccessDenied as exc:
                return Part(stop - start, None, {0: str(exc)})
            self._count("retrieved", stop - start)
            return part

        starts = range(0, len(requests), size)
        return NativeAnswers([ask(0)] if len(starts) == 1 else list(self._threads.map(ask, starts)))

    def _call(self, keyset: UUID, audit: Audit) -> Call:
        request_id, whose = uuid4(), self.credentials
        return Call(
            whose.client_id, whose.client_key, self._native_key, keyset, request_id, audit.as_context(request_id)
        )

    def _asks(self, endpoint: str, call: Call, count: int) -> Callable[[bytes], bytes]:
        if self._metrics is not None:
            self._metrics.observe("worker_authority_keys_per_request", count)
        return partial(self._wire.post_raw, endpoint, request_id=call.request_id)

    def _count(self, event: str, count: int) -> None:
        if self._metrics is not None:
            self._metrics.inc("worker_keys_total", count, event=event)
