"""Regions and workspaces as values, and the hosts that a region's key service has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from worker.errors import ConfigError

PUBLIC_REGIONS = (
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-west-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
)
"""Every region the public service names, and has hosts of its own in (protocol 2.1)."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NAME_CHARACTERS = 40
_CRN = re.compile(r"crn:([a-z0-9-]+)\.([a-z]+):([A-Z2-7]{16})(?::([A-Za-z0-9_-]+))?")


@dataclass(frozen=True, slots=True)
class Region:
    """
    A region's name, as `eu-central-1` or, with an authority of one's own, `on-prem-oslo`.

    Lower-case letters and digits in words parted by `-`, beginning with a letter, at most 40 characters: it stands in
    topics' names, host names and labels.
    """

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _NAME_CHARACTERS:
            raise ConfigError(
                f"region {self.name!r} is no region's name: lower-case letters and digits in words parted by '-', at "
                f"most {_NAME_CHARACTERS} characters, as eu-central-1 or on-prem-oslo"
            )

    @property
    def is_public(self) -> bool:
        """Whether the public service is there; elsewhere hosts are those that the configuration names."""
        return self.name in PUBLIC_REGIONS

    def __str__(self) -> str:
        return self.name

    @property
    def zerokms_url(self) -> str:
        """The public ZeroKMS of this region; empty where there is none."""
        return "" if not self.is_public else f"https://{self.name}.aws.viturhosted.net/"

    @property
    def cts_url(self) -> str:
        """The public CTS of this region; empty where there is none."""
        return "" if not self.is_public else f"https://{self.name}.aws.cts.cipherstashmanaged.net/"


@dataclass(frozen=True, slots=True)
class WorkspaceCrn:
    """
    A workspace's resource name: `crn:<region>.aws:<16 base32>[:<service>]`; `aws` stands there in every region.

    Source: protocol 2.1.
    """

    region: Region
    workspace: str

    @classmethod
    def parse(cls, text: str) -> WorkspaceCrn:
        """Read a CRN; raises `ConfigError` with the expected form for anything else."""
        match = _CRN.fullmatch(text)
        if match is None or match[2] != "aws":
            raise ConfigError(
                f"workspace CRN {text!r} is not crn:<region>.aws:<workspace of 16 upper-case base32 characters>"
            )
        return cls(Region(match[1]), match[3])

    def __str__(self) -> str:
        return f"crn:{self.region.name}.aws:{self.workspace}"
