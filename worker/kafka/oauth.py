"""Access tokens for Kafka's OAUTHBEARER from a file or a command, read anew whenever a client asks."""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

import structlog
from pydantic import Field, model_validator

from worker.errors import ConfigError, SourceUnavailable, WorkerError
from worker.options import Options
from worker.textfile import read_text

_log = structlog.get_logger(__name__)


class OauthOptions(Options):
    """`[kafka] oauth`: exactly one of `token_file` and `command`."""

    token_file: str | None = None
    """Holds one token and is replaced before that expires, as mounted workload-identity tokens are."""
    command: tuple[str, ...] = ()
    """A program with its arguments that prints one token; its own errors go to the worker's standard error."""
    lifetime_s: float | None = Field(default=None, gt=0)
    """How long a token counts as valid that is no JWT with an `exp` claim; None refuses such a token."""
    timeout_s: float = Field(default=8.0, gt=0)
    """Bound of the command."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.token_file is None) == (not self.command):
            raise ValueError("give either token_file or command")
        return self


class OauthTokens:
    """
    Supplies tokens to any number of clients; `__call__` is librdkafka's `oauth_cb`, at 80 % of a token's life.

    Args:
        options: where tokens come from.
        clock: seconds since 1970, as `exp` counts them.
    """

    def __init__(self, options: OauthOptions, *, clock: Callable[[], float] = time.time) -> None:
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = False

    def __call__(self, _config: str) -> tuple[str, float]:
        """Return a token and when it expires; after an error librdkafka asks again in 10 s."""
        try:
            found = self.read()
        except WorkerError as exc:
            self._tell(failed=True, error=str(exc))
            raise
        self._tell(failed=False)
        return found

    def read(self) -> tuple[str, float]:
        """
        Return a token and when it expires, in seconds since 1970; no message holds anything of a token.

        Raises:
            ConfigError: there is no such file or program, or what it gives is empty, expired or of unknown life.
            SourceUnavailable: the command failed or took too long.
        """
        path = self._options.token_file
        where = f"[kafka] oauth token_file {path!r}" if path is not None else "[kafka] oauth command"
        text = (read_text(path, where) if path is not None else self._of_command(where)).strip()
        if not text or len(text.split()) != 1:
            raise ConfigError(f"{where} gives no token: one word is expected")
        expiry = _expiry(text)
        if expiry is None and self._options.lifetime_s is not None:
            expiry = self._clock() + self._options.lifetime_s
        if expiry is None:
            raise ConfigError(f"{where} gives a token without a readable exp claim; set lifetime_s")
        late_s = self._clock() - expiry
        if late_s >= 0:
            raise ConfigError(f"{where} gives a token that expired {late_s:.0f} s ago; who renews it?")
        return text, expiry

    def _of_command(self, where: str) -> str:
        command: Sequence[str] = self._options.command
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own program
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=self._options.timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise SourceUnavailable(f"{where} took longer than {self._options.timeout_s:g} s") from None
        except OSError as exc:
            raise ConfigError(f"{where}: {command[0]!r} can't be run: {exc.strerror}") from None
        if done.returncode:
            raise SourceUnavailable(f"{where} ended with code {done.returncode}")
        return done.stdout.decode("utf-8", "replace")

    def _tell(self, *, failed: bool, error: str = "") -> None:
        """Log a change, once for all clients."""
        with self._lock:
            changed, self._failed = failed != self._failed, failed
        if changed and failed:
            _log.warning("kafka_token_unusable", error=error)
        elif changed:
            _log.info("kafka_token_usable")


def _expiry(token: str) -> float | None:
    """Return a JWT's `exp`; the broker verifies the token, here only its life counts."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None
