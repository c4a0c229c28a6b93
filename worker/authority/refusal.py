"""A refusal that goes to the caller: a status and a reason, free of secrets."""

from __future__ import annotations

from worker.errors import WorkerError


class Refusal(WorkerError):
    """
    The request is answered with a 4xx.

    Args:
        status: 400 malformed, 401 unauthorised, 403 not permitted, 404 no grant or unknown, 409 conflict,
            413 too large.
        reason: goes into the body.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
