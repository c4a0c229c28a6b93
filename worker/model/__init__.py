"""
The nouns that two stages share.

A stage passes columns of bytes and a plan, never an object of its own making. Nothing here shows a plaintext, a
ciphertext or a key in its repr.
"""

from worker.model.holds import (
    EncryptionKeys,
    Grant,
    KeyHold,
    KeyNeed,
    LeasePortion,
    Texts,
    spec_of,
)
from worker.model.keys import (
    Audit,
    ContextElement,
    DataKey,
    DecryptionKeys,
    IdentityClaim,
    KeyRefused,
    KeyService,
    KeySpec,
    PolicyCondition,
    RetrieveRequest,
    Tag,
    Value,
)
from worker.model.plan import (
    EncryptionPlan,
    FieldPlan,
    Format,
    PlaintextKind,
    ValueColumn,
)
from worker.model.records import (
    Header,
    Position,
    SinkRecord,
    SourceRecord,
    TopicPartition,
)

__all__ = [
    "Audit",
    "ContextElement",
    "DataKey",
    "DecryptionKeys",
    "EncryptionKeys",
    "EncryptionPlan",
    "FieldPlan",
    "Format",
    "Grant",
    "Header",
    "IdentityClaim",
    "KeyHold",
    "KeyNeed",
    "KeyRefused",
    "KeyService",
    "KeySpec",
    "LeasePortion",
    "PlaintextKind",
    "PolicyCondition",
    "Position",
    "RetrieveRequest",
    "SinkRecord",
    "SourceRecord",
    "Tag",
    "Texts",
    "TopicPartition",
    "Value",
    "ValueColumn",
    "spec_of",
]
