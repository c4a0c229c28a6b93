"""The batched data-key cache: pools and leases for encryption, a bounded LRU for decryption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker import lazy
from worker.zerokms.keys.options import KeyOptions

if TYPE_CHECKING:
    from worker.zerokms.keys.budget import Budget
    from worker.zerokms.keys.cache import KeyCache
    from worker.zerokms.keys.index import IndexKeys
    from worker.zerokms.keys.retrieved import RetrievedKeys

__all__ = ["Budget", "IndexKeys", "KeyCache", "KeyOptions", "RetrievedKeys"]

__getattr__ = lazy.parts(
    __name__,
    {
        "Budget": "worker.zerokms.keys.budget",
        "KeyCache": "worker.zerokms.keys.cache",
        "IndexKeys": "worker.zerokms.keys.index",
        "RetrievedKeys": "worker.zerokms.keys.retrieved",
    },
)
