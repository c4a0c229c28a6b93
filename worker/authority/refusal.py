"""A refusal: what the caller did or may not do, as an HTTP status and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """
    An answer that is not 2xx; no secret and no value of the request stands in the reason.

    Args:
        status: 400 to 503.
        reason: for the caller to read.
        code: the account code of a 402.
        more: what else the answer says to who asked, and nobody else is told.
        retry_after_s: of a 429, when the same would be answered.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        *,
        code: str | None = None,
        more: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.code = code
        self.retry_after_s = retry_after_s
        self.more = {} if more is None else dict(more)
