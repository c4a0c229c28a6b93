"""What a source may be told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from worker.source.options import SourceOptions


def test_refuses_cooperative_static_members() -> None:
    """A static member that dies while it gives partitions up would leave them without an owner."""
    with pytest.raises(ValidationError, match="without an owner"):
        SourceOptions(topics=("t",), assignment="cooperative", static_membership=True)


@pytest.mark.parametrize(("static", "protocol"), [(False, "cooperative"), (True, "eager")])
def test_the_default_assignment_fits_the_membership(static: bool, protocol: str) -> None:
    """Cooperative, but for static members."""
    assert SourceOptions(topics=("t",), static_membership=static).protocol == protocol
