"""Keys that are asked for by iv and descriptor alone: read, made and written without an object for each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel

from worker.authority import decoding, wire
from worker.authority.material import KeysetSecrets, native_secrets
from worker.native import IS_LOADED, extension
from worker.zerokms.derive import Permutations

if TYPE_CHECKING:
    from worker import _native


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as JSON."""

    json: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """
    A request for keys in native memory.

    Args:
        head: its other members.
        keys: what is asked for.
    """

    head: wire.Generate | wire.Retrieve
    keys: _native.PlainKeys

    def descriptors(self) -> Counter[str]:
        """How many keys are asked for under each descriptor."""
        return Counter(self.keys.descriptors)

    def generate(self, secrets: KeysetSecrets, share: Permutations) -> Reply:
        """Return the reply with fresh keys."""
        return Reply(self.keys.generate(native_secrets(secrets, share)))

    def retrieve(self, secrets: KeysetSecrets, share: Permutations, *, fallible: bool) -> tuple[Reply, int]:
        """Return the reply with keys made again, and how many were refused: of them all, unless `fallible`."""
        reply, refused = self.keys.retrieve(native_secrets(secrets, share), fallible)
        return Reply(reply), refused


def plain_request(model: type[BaseModel], body: bytes) -> PlainRequest | None:
    """
    Read a request for plain keys; None for any other, and for what is malformed among its keys.

    Raises:
        Refusal: a 400 for the rest of the body.
        ValidationError: it is not as the model says.
    """
    if not IS_LOADED or model not in (wire.Generate, wire.Retrieve):
        return None
    keys = extension.plain_keys(body, model is wire.Retrieve)
    if keys is None:
        return None
    head = model.model_validate(decoding.parse(keys.head.encode()))
    assert isinstance(head, wire.Generate | wire.Retrieve)
    return PlainRequest(head, keys)
