"""
The nouns that two stages share.

A stage passes columns of bytes and a plan, never an object of its own making. Nothing here shows a plaintext, a
ciphertext or a key in its repr.
"""

from worker.model.batch import (
    Batch,
    Columns,
    Frames,
    Indexes,
    Output,
    Part,
    Run,
    Stamp,
    first_offsets,
    halves,
    next_offsets,
    records_of,
    since,
    within,
    without,
)
from worker.model.columns import joined_runs
from worker.model.fates import Failed, Fate, Fates
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
from worker.model.output import PlainOutput
from worker.model.plain import PlainBatch, batch_of
from worker.model.plan import (
    EncryptionPlan,
    FieldPlan,
    Format,
    PlaintextKind,
    ValueColumn,
)
from worker.model.records import (
    Header,
    SinkRecord,
    SourceRecord,
)
from worker.model.specs import SpecRuns, Specs
from worker.model.split import Encryptor, FieldUsage, KeyUsage, PlainSealed, Sealed, Split
from worker.position import Position, TopicPartition

__all__ = [
    "Audit",
    "Batch",
    "Columns",
    "ContextElement",
    "DataKey",
    "DecryptionKeys",
    "EncryptionKeys",
    "EncryptionPlan",
    "Encryptor",
    "Failed",
    "Fate",
    "Fates",
    "FieldPlan",
    "FieldUsage",
    "Format",
    "Frames",
    "Grant",
    "Header",
    "IdentityClaim",
    "Indexes",
    "KeyHold",
    "KeyNeed",
    "KeyRefused",
    "KeyService",
    "KeySpec",
    "KeyUsage",
    "LeasePortion",
    "Output",
    "Part",
    "PlainBatch",
    "PlainOutput",
    "PlainSealed",
    "PlaintextKind",
    "PolicyCondition",
    "Position",
    "RetrieveRequest",
    "Run",
    "Sealed",
    "SinkRecord",
    "SourceRecord",
    "SpecRuns",
    "Specs",
    "Split",
    "Stamp",
    "Tag",
    "Texts",
    "TopicPartition",
    "Value",
    "ValueColumn",
    "batch_of",
    "first_offsets",
    "halves",
    "joined_runs",
    "next_offsets",
    "records_of",
    "since",
    "spec_of",
    "within",
    "without",
]
