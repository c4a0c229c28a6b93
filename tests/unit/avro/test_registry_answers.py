"""What a registry's refusals and outages become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from email.message import Message

import pytest

from tests.listening import Answer, Listening
from worker.avro import RegistrySchemas, SchemaRef
from worker.errors import ConfigError, RecordError, RegistryUnavailable


class Registry(Listening):
    """Answers everything alike; `asked` holds the paths that were asked for."""

    def __init__(
        self, status: int, code: int = 0, subjects: int = 0, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._status, self._code, self._subjects, self._headers = status, code, subjects or status, headers or {}

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Answer:
        """Answer with the status of the subjects, or of everything else."""
        self.asked.append(path)
        status = self._subjects if path.startswith("/subjects") else self._status
        said = b"[]" if status == 200 else b'{"error_code": %d, "message": "m"}' % (self._code or status)
        return Answer(status, said, self._headers)


@contextmanager
def answering(
    status: int, code: int = 0, subjects: int = 0, *, headers: Mapping[str, str] | None = None
) -> Iterator[RegistrySchemas]:
    with (
        Registry(status, code, subjects, headers=headers) as registry,
        closing(RegistrySchemas({"url": registry.url}, auto_register=True)) as made,
    ):
        yield made


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ConfigError),
        (403, ConfigError),
        (500, RegistryUnavailable),
        (503, RegistryUnavailable),
    ],
)
def test_an_answer_becomes_its_error(status: int, error: type[Exception]) -> None:
    """Refused credentials stop, an unknown id costs its records, an outage is waited out."""
    with answering(status) as schemas, pytest.raises(error):
        schemas.get(SchemaRef(id=1))


def test_a_redirect_to_another_host_is_not_followed() -> None:
    """A registry that sends elsewhere is an answer of its own host, and the other host is never asked."""
    with (
        Registry(500) as other,
        answering(307, headers={"Location": f"{other.url}/subjects"}) as schemas,
        pytest.raises(RegistryUnavailable),
    ):
        schemas.check()

    assert other.asked == []


@pytest.mark.parametrize(
    ("code", "subjects", "error"),
    [
        (40403, 404, RecordError),
        (404, 200, RecordError),
        (404, 404, RegistryUnavailable),
        (404, 502, RegistryUnavailable),
    ],
)
def test_only_the_registry_can_say_that_a_schema_is_unknown(code: int, subjects: int, error: type[Exception]) -> None:
    """A 404 without the registry's own code counts where the registry answers otherwise; a proxy's is an outage."""
    with answering(404, code, subjects) as schemas, pytest.raises(error):
        schemas.get(SchemaRef(id=1))
