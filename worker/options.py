"""What every section of the settings is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """
    One section: frozen, and an unknown key is refused.

    The sentence under each option is its description, in docs/contracts.md and in the JSON schema of the settings
    (`worker.cli.described`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
