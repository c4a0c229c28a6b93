"""Files that somebody names, read as text."""

from __future__ import annotations

from pathlib import Path

from worker.errors import ConfigError, why


def read_text(path: Path | str, what: str = "") -> str:
    """
    Return a file's text without a byte-order mark.

    Args:
        path: a relative one counts from the working directory.
        what: how the message names the file; its path where nothing is given.

    Raises:
        ConfigError: it can't be read, or is no text in UTF-8.
    """
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        place = "" if path.is_absolute() else f"; a relative path counts from the working directory, {Path.cwd()}"
        raise ConfigError(f"{what or path} can't be read: {why(exc)}{place}") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{what or path} can't be read: {why(exc)}") from None
