"""Files that somebody names."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.environment import read
from worker.errors import ConfigError
from worker.textfile import read_text


def test_a_mark_in_front_is_no_part_of_the_text(tmp_path: Path) -> None:
    """As Windows writes it, of a secret too."""
    path = tmp_path / "token"
    path.write_text("secret\r\n", encoding="utf-8-sig")

    assert read_text(path) == "secret\n"
    assert read({"CS_OIDC_TOKEN_FILE": str(path)}, "CS_OIDC_TOKEN") == "secret"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfea\0", "no text in UTF-8 but in UTF-16: save it anew"),
        (b"caf\xe9", "the token can't be read: it is no text in UTF-8$"),
    ],
)
def test_another_encoding_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    """And nothing of what it holds."""
    path = tmp_path / "token"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=told):
        read_text(path, "the token")


def test_a_relative_path_is_told_with_where_it_counts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's working directory is rarely its operator's."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match=f"token can't be read: No such file .* {tmp_path}"):
        read_text("token")
    with pytest.raises(ConfigError, match=r"No such file or directory$"):
        read_text(tmp_path / "token")
