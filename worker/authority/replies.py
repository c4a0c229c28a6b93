"""Answers as HTTP has them: what was asked for, a refusal, or an error of which nothing is said."""

from __future__ import annotations

import math
from typing import Any

import orjson
import structlog
from fastapi import Response
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from starlette.requests import ClientDisconnect

from worker import log
from worker.authority import asked
from worker.authority.head import TamperedStore
from worker.authority.refusal import Refusal
from worker.errors import KeyAccessDenied

_log = structlog.get_logger(__name__)


def refusal_of(exc: Exception) -> Refusal:
    """Return an error as what the caller is told."""
    if isinstance(exc, Refusal):
        return exc
    if isinstance(exc, IntegrityError):
        return Refusal(409, "another request was faster")
    if isinstance(exc, KeyAccessDenied):
        return Refusal(403, str(exc))
    if isinstance(exc, ClientDisconnect):
        return Refusal(400, "the caller went away")
    if isinstance(exc, TamperedStore):
        return Refusal(503, str(exc))
    if isinstance(exc, SQLAlchemyError):
        _log.error("store_failed", cause=type(exc).__name__)
        return Refusal(503, "the store can't be reached")
    # Whatever it is, the request has its line and its answer says nothing of it.
    _log.error("request_failed", cause=type(exc).__name__, at=log.places(exc))
    return Refusal(500, "the authority failed")


def refused(refusal: Refusal) -> Response:
    """Return a refusal as an answer."""
    _log.debug("request_refused", status=refusal.status, reason=refusal.reason)
    response = as_json({"error": refusal.reason, **refusal.more}, refusal.status)
    if refusal.retry_after_s is not None:
        response.headers["retry-after"] = str(math.ceil(refusal.retry_after_s))
    return response


def as_json(value: Any, status: int = 200) -> Response:
    """Return a value as an answer; bytes are a file."""
    if isinstance(value, asked.Ready):
        return Response(value.json, status_code=status, media_type="application/json")
    if isinstance(value, bytes):
        return Response(value, media_type="application/octet-stream")
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")
