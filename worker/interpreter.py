"""The interpreter: how a long-lived program of ours sets it up, and what a child process of it begins with."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from typing import Any, Protocol

_YOUNG = 50_000
"""
A batch makes tens of thousands of objects that reference counting frees by itself. At CPython's default of 700 each
batch is walked dozens of times, with the keys held ahead: a third of the authority's time, a quarter of the worker's.
"""
_SWITCH_S = 0.001
"""
An answer that is ready waits this long for a thread that computes; at the default of 5 ms it often waits longer than
a key request's own work takes.
"""


def set_up() -> None:
    """Collect cycles once in 50,000 allocations, leave what was imported alone; called once, after the imports."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 50)
    sys.setswitchinterval(_SWITCH_S)


class Forked(Protocol):
    """Something that holds keys, locks or threads, none of which survive a fork."""

    def after_fork(self) -> None:
        """Start afresh in the child: no key of the parent is used again."""
        ...


class Unpicklable:
    """Something that holds keys and connections, and so is copied nowhere."""

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Raise `TypeError`, as Python does for what is not pickled."""
        raise TypeError(
            f"{type(self).__name__} holds keys and connections, and is neither pickled nor copied: make one in each "
            "process; a child that was forked may go on with its parent's"
        )


_holders: weakref.WeakSet[Forked] = weakref.WeakSet()
_registering = threading.Lock()


def on_fork(holder: Forked) -> None:
    """Have `holder.after_fork()` called in every child process; holds no reference."""
    with _registering:
        _holders.add(holder)


def _after_fork() -> None:
    global _registering
    _registering = threading.Lock()
    for holder in list(_holders):
        holder.after_fork()


os.register_at_fork(after_in_child=_after_fork)
