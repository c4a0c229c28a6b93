"""One program started here: its log file, its signals, its end."""

from __future__ import annotations

import contextlib
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.errors import TransientError


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports on loopback that nothing listens on at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


class Program:
    """
    A program that runs until it is stopped; its output goes to a file.

    It gets a session of its own, so that Ctrl-C reaches the caller first, who then stops things in order.

    Args:
        command: the program and its arguments.
        log: where standard output and error are appended.
        user: the account to run as, None for the caller's own.
        environment: the program's whole environment, None for the caller's own.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=None if user is None else _group_of(user),
                extra_groups=None if user is None else [],
                cwd="/" if user else None,
                env=None if environment is None else dict(environment),
            )

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the program has not ended yet."""
        return self._process.poll() is None

    def output(self, limit: int = 3000) -> str:
        """Return the end of what the program wrote."""
        return self._log.read_text(errors="replace")[-limit:] if self._log.exists() else ""

    def send(self, number: int) -> None:
        """Send a signal; does nothing after the end."""
        if self.is_running:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Wait for the program's own end and return its exit code; raises `TimeoutExpired`."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """End the program at once, as a crash would."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def stop(self, timeout_s: float, *, number: int = signal.SIGTERM) -> None:
        """Ask the program to end, and kill it when it has not within `timeout_s`."""
        self.send(number)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()


def await_port(program: Program, port: int, *, name: str, timeout_s: float) -> None:
    """
    Return when `port` on loopback accepts connections.

    Raises:
        TransientError: the program ended or did not listen in time; its output is in the message.
    """
    end = time.monotonic() + timeout_s
    while True:
        if not program.is_running:
            raise TransientError(f"{name} ended with code {program.wait(0)} while starting:\n{program.output()}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            if time.monotonic() > end:
                raise TransientError(f"{name} does not listen after {timeout_s:g} s:\n{program.output()}") from None
            time.sleep(0.05)
        else:
            return


def _group_of(user: str) -> int:
    return pwd.getpwnam(user).pw_gid
