"""A message that the client's own queue never takes is told, and not tried for ever."""

from __future__ import annotations

import json

import pytest

from tests.contract.batches import of_native
from tests.fakes.keyservice import FakeKeyService
from worker.avro import DeclarationOptions, compile_schema, encode_value
from worker.encryption import BatchEncryptor
from worker.errors import SinkUnavailable
from worker.model import Audit, Part, Position, SourceRecord
from worker.native import IS_LOADED
from worker.native.batch import NativeOutput
from worker.sink.kafka.producer import BatchProducer
from worker.zerokms.keys import KeyCache

_FRAME = b"\0\0\0\0\1"
_SCHEMA = {"type": "record", "name": "A", "fields": [{"name": "a", "type": "string", "encrypted": True}]}
# Nothing is sent, so no broker is needed.
_CLIENT: dict[str, str | int] = {"bootstrap.servers": "127.0.0.1:1", "queue.buffering.max.kbytes": 1, "log_level": 0}


@pytest.mark.skipif(not IS_LOADED, reason="the extension module is not built")
def test_a_message_larger_than_the_queue_is_told() -> None:
    """With the property to raise."""
    datum = _FRAME + encode_value('"string"', "x" * 5_000)
    batch = of_native([SourceRecord(Position("s", 0, 0), b"k", datum, [], 1, 5)])
    split = compile_schema(json.dumps(_SCHEMA), DeclarationOptions()).split_batch(batch, [None], len(_FRAME))
    with KeyCache(FakeKeyService(), audit=Audit("test")) as cache:
        [sealed] = BatchEncryptor(cache).seal([(split, _FRAME)])
    output = batch.output([Part(range(1), sealed.data)], range(1))
    assert isinstance(output, NativeOutput)
    producer = BatchProducer(lambda: dict(_CLIENT), name="route customers", timeout_s=1)
    producer.begin()

    assert producer.send_native("t", output, (None, [], None), by_key=False)
    with pytest.raises(SinkUnavailable, match=r"queue\.buffering\.max\.kbytes"):
        producer.flush()

    producer.discard()
