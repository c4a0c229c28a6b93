"""A client that was made before a fork, as servers with preloaded programs and multiprocessing have it."""

from __future__ import annotations

import gc
import os
import signal
import threading
import warnings
from collections.abc import Callable

import pytest

from worker import Encryption, Regions

FIELD = "acme.crm.Customer/email"
MANY = [f"customer{i}@example.com" for i in range(1_200)]


def in_a_child(work: Callable[[], None]) -> int:
    """The exit code of a child process that does some work."""
    # The child must not take apart what other tests have left: clients whose threads stayed with the parent.
    gc.collect()
    gc.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        gc.freeze()
        gc.enable()
        signal.alarm(25)
        try:
            work()
        finally:
            os._exit(0 if all_done.is_set() else 1)
    gc.enable()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


all_done = threading.Event()


@pytest.mark.integration
def test_a_child_has_connections_and_threads_of_its_own(authority: dict[str, str]) -> None:
    """Many requests at once, single calls and regions work in the child, and the parent goes on."""
    with Regions.from_env("CS_", environ=authority) as regions, Encryption.from_env(environ=authority) as encryption:
        sealed = encryption.encrypt_many(MANY, field=FIELD)
        assert regions.decrypt_many(sealed, field=FIELD) == MANY

        def work() -> None:
            again = encryption.encrypt_many(MANY, field=FIELD)
            assert regions.decrypt_many([*sealed, *again], field=FIELD) == MANY * 2
            assert encryption.decrypt(encryption.encrypt("ann", field=FIELD), field=FIELD) == "ann"
            assert encryption.query_term(FIELD, "ann")
            all_done.set()

        assert in_a_child(work) == 0
        assert encryption.decrypt_many(sealed, field=FIELD) == MANY


@pytest.mark.integration
def test_a_fork_while_a_call_is_under_way_leaves_nobody_waiting(authority: dict[str, str]) -> None:
    """Whoever leads a shared request in the parent is not there in the child, whose calls go out by themselves."""
    with Encryption.from_env(environ=authority, cache=None, window_s=5.0) as encryption:
        encryption.encrypt("warm", field=FIELD)
        started, stop = threading.Event(), threading.Event()

        def busy() -> None:
            while not stop.is_set():
                encryption.encrypt("ann", field=FIELD)
                started.set()

        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            assert started.wait(30)

            def work() -> None:
                assert encryption.decrypt(encryption.encrypt("bob", field=FIELD), field=FIELD) == "bob"
                all_done.set()

            codes = [in_a_child(work) for _ in range(3)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    assert codes == [0, 0, 0]
