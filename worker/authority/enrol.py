"""
The client's side of an enrolment: where client keys are made; nothing here runs in the authority.

With A the authority's share and C the client key, "A then C" is the domain key, which no side computes. For a new
client with relation r the authority takes `A then r`, the client `r^-1 then C`; both give the same data keys.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np

from worker.errors import ConfigError
from worker.zerokms.derive import ClientKey, check_material, derive, invert, random_permutation, then

Call = Callable[[str, dict[str, Any]], Any]
"""Sends a body to an endpoint with a service token and returns the answer; raises where it is refused."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the enrolling side hands to the new client over a channel of their own; a secret."""

    client_id: UUID
    secret: str = field(repr=False)
    key: ClientKey | None = field(repr=False)

    def to_json(self) -> str:
        """The form that is handed over; a secret."""
        key = None if self.key is None else self.key.to_hex()
        return json.dumps({"client_id": str(self.client_id), "secret": self.secret, "key": key})

    @classmethod
    def from_json(cls, text: str) -> Proposal:
        """Read what `to_json` wrote; raises `ConfigError` for anything else."""
        try:
            read = json.loads(text)
            key = None if read["key"] is None else ClientKey.parse(read["key"])
            return cls(UUID(read["client_id"]), str(read["secret"]), key)
        except (ValueError, KeyError, TypeError):
            raise ConfigError("the proposal is not one that worker client create wrote") from None


@dataclass(frozen=True, slots=True)
class Existing:
    """A client to enrol another through: its key, and calls with an access key that is bound to it."""

    client_id: UUID
    key: ClientKey = field(repr=False)
    call: Call = field(repr=False)


def propose(call: Call, *, name: str, region: str, via: Existing | None = None, description: str = "") -> Proposal:
    """Begin an enrolment, through an existing client where the workspace has one; `call` need not be bound to it."""
    body: dict[str, Any] = {"name": name, "region": region, "description": description}
    key = None
    if via is not None:
        relation, key = _related(via.key)
        body |= {"via": str(via.client_id), "relation": relation, "canary": _canary(via)}
    answer = call("propose-client", body)
    return Proposal(UUID(answer["id"]), answer["enrolment_secret"], key)


def accept(call: Call, proposal: Proposal) -> ClientKey:
    """
    Finish an approved enrolment as the new client; returns the client key, which exists nowhere else.

    Args:
        call: with an access key that is bound to the new client.
        proposal: what the enrolling side handed over.
    """
    old = proposal.key if proposal.key is not None else _first()
    relation, masked = _related(old)
    key = ClientKey(masked.p1, random_permutation(16), masked.p2_to, masked.p3)
    step = {"client_id": str(proposal.client_id), "enrolment_secret": proposal.secret}
    answer = call("mask-client", {**step, "relation": relation, "p2": key.p2_from.tolist()})
    proof = ""
    if answer["canary"] is not None:
        iv = base64.b64decode(answer["canary"]["iv"])
        sealed = base64.b64decode(answer["canary"]["key_material"])
        check_material(key, iv, sealed)
        proof = _proof(bytes(derive(key, iv, sealed)))
    call("activate-client", {**step, "proof": proof})
    return key


def _first() -> ClientKey:
    return ClientKey(
        random_permutation(16), np.arange(16, dtype=np.uint8), random_permutation(16), random_permutation(33)
    )


def _related(key: ClientKey) -> tuple[dict[str, list[int]], ClientKey]:
    p1, p3 = random_permutation(16), random_permutation(33)
    made = ClientKey(then(invert(p1), key.p1), key.p2_from, key.p2_to, then(invert(p3), key.p3))
    return {"p1": p1.tolist(), "p3": p3.tolist()}, made


def _canary(via: Existing) -> dict[str, str]:
    iv, descriptor = os.urandom(16), "zk-canary"
    text = base64.b64encode(iv).decode()
    item = {"iv": text, "descriptor": descriptor, "context": []}
    made = via.call("generate-data-key", {"client_id": str(via.client_id), "keys": [item]})["keys"][0]
    sealed = base64.b64decode(made["key_material"])
    check_material(via.key, iv, sealed)
    commitment = hashlib.sha256(_proof(bytes(derive(via.key, iv, sealed))).encode()).hexdigest()
    tag = base64.b64decode(made["tag"]).hex()
    return {"iv": text, "tag": tag, "descriptor": descriptor, "commitment": commitment}


def _proof(data_key: bytes) -> str:
    return hmac.digest(data_key, b"enrolment canary", "sha256").hex()
