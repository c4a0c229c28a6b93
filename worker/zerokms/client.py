"""
The key service over HTTP: data keys in batches, derived here from the authority's share and the client key.

Source: protocol 4, 5.3 and 8.
"""

from __future__ import annotations

import binascii
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import orjson
import pybase64

from worker.errors import KeyAccessDenied, KeyMaterialError, RegionViolation
from worker.http_client import open_client
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest
from worker.zerokms import wire
from worker.zerokms.auth import TokenSource
from worker.zerokms.checked import derive_checked
from worker.zerokms.credentials import Credentials, base_url, host_of, is_allowed
from worker.zerokms.derive import IV_BYTES, KEY_BYTES, MATERIAL_BYTES, check_material, index_key
from worker.zerokms.http import Wire
from worker.zerokms.options import ClientOptions

_ENCODED_BYTES = MATERIAL_BYTES * 4 // 3
_T = TypeVar("_T")
_R = TypeVar("_R")


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
        self._wire = Wire(self._http, self.tokens, self.zerokms, in_flight=in_flight, metrics=metrics)
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="zerokms")
        self._metrics = metrics
        self._keysets: dict[str | None, LoadedKeyset] = {}
        self._loading = threading.Lock()

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        """Return one fresh data key per request; see `KeyService`."""
        return self._in_groups(requests, lambda r: r.keyset, lambda ref, part: self._generate(ref, part, audit))

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        """Return each request's data key, or why that one was refused; see `KeyService`."""
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

    def call(self, endpoint: str, body: bytes) -> Any:
        """Post one administrative call; see `worker.zerokms.admin`."""
        return self._wire.post(endpoint, body)

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
        ask: Callable[[Any, Sequence[_T]], list[_R]],
    ) -> list[_R]:
        """Ask once per keyset and `keys_per_request`, at once where there are several; keep the order."""
        groups: dict[Any, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(key(request), []).append(i)
        size = self.options.keys_per_request
        parts = [(ref, at[i : i + size]) for ref, at in groups.items() for i in range(0, len(at), size)]
        jobs = [(ref, [requests[i] for i in at]) for ref, at in parts]
        answers: Iterable[list[_R]] = (
            (ask(*jobs[0]),) if len(jobs) == 1 else self._threads.map(lambda job: ask(*job), jobs)
        )
        found: dict[int, _R] = {}
        for (_, at), answer in zip(parts, answers, strict=True):
            found.update(zip(at, answer, strict=True))
        return [found[i] for i in range(len(requests))]

    def _generate(self, ref: str | None, specs: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        keyset = self.resolve_keyset(ref)
        ivs = os.urandom(IV_BYTES * len(specs))
        each = [ivs[i : i + IV_BYTES] for i in range(0, len(ivs), IV_BYTES)]
        request_id = uuid4()
        items = wire.generate_items(specs, each)
        reply = self._keys("generate-data-key", keyset, items, audit.as_context(request_id))
        tags = [wire.decode_base64(_member(item, "tag"), "a tag") for item in reply]
        policies = [wire.read_policy(item.get("decryption_policy")) for item in reply]
        secrets = self._derive(ivs, [_member(item, "key_material") for item in reply])
        return [
            DataKey(
                secret, iv=iv, tag=tag, keyset=keyset, descriptor=spec.descriptor, policy=policy, request_id=request_id
            )
            for secret, iv, tag, spec, policy in zip(secrets, each, tags, specs, policies, strict=True)
        ]

    def _retrieve(
        self, keyset: UUID | None, requests: Sequence[RetrieveRequest], audit: Audit
    ) -> list[DataKey | KeyRefused]:
        resolved = self.resolve_keyset(None) if keyset is None else keyset
        request_id = uuid4()
        items = [wire.retrieve_item(request) for request in requests]
        try:
            reply = self._keys("retrieve-data-key-fallible", resolved, items, audit.as_context(request_id))
        except KeyAccessDenied as exc:
            return [KeyRefused(str(exc))] * len(requests)
        opened = [(i, _member(item["Ok"], "key_material")) for i, item in enumerate(reply) if "Ok" in item]
        secrets = self._derive(b"".join(requests[i].iv for i, _ in opened), [text for _, text in opened])
        answers: list[DataKey | KeyRefused] = [KeyRefused(str(item.get("Err", "refused"))[:200]) for item in reply]
        for (i, _), secret in zip(opened, secrets, strict=True):
            r = requests[i]
            answers[i] = DataKey(
                secret,
                iv=r.iv,
                tag=r.tag,
                keyset=resolved,
                descriptor=r.descriptor,
                policy=r.policy,
                request_id=request_id,
            )
        return answers

    def _keys(self, endpoint: str, keyset: UUID, items: list[Any], unverified: dict[str, str]) -> list[dict[str, Any]]:
        if self._metrics is not None:
            self._metrics.observe("worker_authority_keys_per_request", len(items))
        reply = self._wire.post(endpoint, wire.keys_body(self.credentials.client_id, keyset, items, unverified))
        keys = reply.get("keys") if isinstance(reply, dict) else None
        if not isinstance(keys, list) or len(keys) != len(items) or not all(isinstance(k, dict) for k in keys):
            raise KeyMaterialError(f"{endpoint}: the answer does not hold one item for each of {len(items)} keys")
        if self._metrics is not None:
            event = "generated" if endpoint == "generate-data-key" else "retrieved"
            self._metrics.inc("worker_keys_total", len(items), event=event)
        return keys

    def _derive(self, ivs: bytes, encoded: Sequence[str]) -> list[memoryview]:
        if not encoded:
            return []
        # 528 is a multiple of 3, so the encodings have no padding and decode as one.
        if any(not isinstance(text, str) or len(text) != _ENCODED_BYTES for text in encoded):
            raise KeyMaterialError(f"the key service sent key material that is not {MATERIAL_BYTES} bytes of base64")
        try:
            materials = pybase64.b64decode("".join(encoded), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise KeyMaterialError("the key service sent key material that is not base64") from exc
        key = self.credentials.client_key
        view = memoryview(derive_checked(key, ivs, materials))
        return [view[i : i + KEY_BYTES] for i in range(0, len(view), KEY_BYTES)]


def _member(item: dict[str, Any], name: str) -> Any:
    if name not in item:
        raise KeyMaterialError(f"the key service sent a key without {name}")
    return item[name]
