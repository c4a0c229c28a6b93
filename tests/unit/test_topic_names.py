"""Names of topics in the settings: what Kafka has no topic for is refused at once, and not waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_config import MINIMAL
from worker import config
from worker.errors import ConfigError

SOURCE, SINK = 'topics = ["customers"]', 'topic = "customers.enc"'


def load(tmp_path: Path, text: str) -> config.Settings:
    path = tmp_path / "worker.toml"
    path.write_text(text)
    return config.load(path, environ={})


@pytest.mark.parametrize(
    "name", ["", "customers ", "a/b", "^customers.*", "customers*", "kündigungen", ".", "..", "a\\n"]
)
@pytest.mark.parametrize(("place", "written"), [(SOURCE, 'topics = ["{}"]'), (SINK, 'topic = "{}"')])
def test_a_name_that_no_topic_has_is_refused(tmp_path: Path, place: str, written: str, name: str) -> None:
    """A pattern above all: a client would read whatever matches it, now and later."""
    with pytest.raises(ConfigError, match="is no topic: a name is letters"):
        load(tmp_path, MINIMAL.replace(place, written.format(name)))


def test_a_long_name_is_refused_with_its_length(tmp_path: Path) -> None:
    """As the brokers would; a source's name has to leave room for that of its dead letters."""
    assert load(tmp_path, MINIMAL.replace(SOURCE, f'topics = ["{"t" * 244}"]').replace(SINK, f'topic = "{"t" * 249}"'))
    with pytest.raises(ConfigError, match=r"topics\.0.*dead letters .* 250 characters"):
        load(tmp_path, MINIMAL.replace(SOURCE, f'topics = ["{"t" * 245}"]'))
    with pytest.raises(ConfigError, match="at most 249 characters, this one 250"):
        load(tmp_path, MINIMAL.replace(SINK, f'topic = "{"t" * 250}"'))
