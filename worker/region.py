"""Regions and workspaces as values, and the hosts that a region's key service has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from worker.errors import ConfigError

REGIONS = (
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-west-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
)
"""Every region the public service names (protocol 2.1)."""

_CRN = re.compile(r"crn:([a-z0-9-]+)\.([a-z]+):([A-Z2-7]{16})(?::([A-Za-z0-9_-]+))?")


@dataclass(frozen=True, slots=True)
class Region:
    """A region's name, known to the service, as `eu-central-1`."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in REGIONS:
            raise ConfigError(f"region {self.name!r} is not known; one of {', '.join(REGIONS)}")

    def __str__(self) -> str:
        return self.name

    @property
    def zerokms_url(self) -> str:
        """The public ZeroKMS of this region."""
        return f"https://{self.name}.aws.viturhosted.net/"

    @property
    def cts_url(self) -> str:
        """The public CTS of this region."""
        return f"https://{self.name}.aws.cts.cipherstashmanaged.net/"


@dataclass(frozen=True, slots=True)
class WorkspaceCrn:
    """
    A workspace's resource name: `crn:<region>.aws:<16 base32>[:<service>]`.

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
