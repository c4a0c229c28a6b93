"""How a long-lived program of ours sets its interpreter up: when garbage is collected, how soon a thread gives way."""

from __future__ import annotations

import gc
import sys

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
