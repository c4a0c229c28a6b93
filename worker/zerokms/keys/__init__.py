"""The batched data-key cache: pools and leases for encryption, a bounded LRU for decryption."""

from worker.zerokms.keys.budget import Budget
from worker.zerokms.keys.cache import KeyCache
from worker.zerokms.keys.index import IndexKeys
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.retrieved import RetrievedKeys

__all__ = ["Budget", "IndexKeys", "KeyCache", "KeyOptions", "RetrievedKeys"]
