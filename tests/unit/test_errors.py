"""The verdicts: which class tells the catcher what."""

from __future__ import annotations

import pytest

from worker import errors


@pytest.mark.parametrize(
    ("error", "verdict", "exit_code"),
    [
        (errors.ConfigError, errors.ConfigError, 2),
        (errors.DeclarationError, errors.ConfigError, 2),
        (errors.DecodeError, errors.RecordError, 3),
        (errors.DecryptionError, errors.RecordError, 3),
        (errors.ResidencyError, errors.RecordError, 3),
        (errors.SinkRejected, errors.RecordError, 3),
        (errors.KeyServiceUnavailable, errors.TransientError, 4),
        (errors.KeyServiceThrottled, errors.KeyServiceUnavailable, 4),
        (errors.RegistryUnavailable, errors.TransientError, 4),
        (errors.SourceUnavailable, errors.TransientError, 4),
        (errors.SinkUnavailable, errors.TransientError, 4),
        (errors.TransactionExpired, errors.PositionsChanged, 4),
        (errors.RegionViolation, errors.FatalError, 3),
        (errors.KeyAccessDenied, errors.FatalError, 3),
        (errors.KeyMaterialError, errors.FatalError, 3),
        (errors.CanaryError, errors.FatalError, 3),
        (errors.DeadLetterLimitExceeded, errors.FatalError, 3),
        (errors.OffsetLost, errors.FatalError, 3),
        (errors.FateError, errors.FatalError, 3),
        (errors.Fenced, errors.FatalError, 5),
    ],
)
def test_each_error_is_a_verdict(error: type[errors.WorkerError], verdict: type, exit_code: int) -> None:
    """Each class says by its parent what to do, and by its code how the program ends."""
    assert issubclass(error, verdict)
    assert error.exit_code == exit_code


def test_a_record_error_has_a_stable_code_and_a_path() -> None:
    """Code and path reach the dead letter's headers; the class gives the code where none is named."""
    plain, named = errors.DecodeError("ends early"), errors.DecodeError("bad", code="bad_magic", path="a.B/c")

    assert (plain.code, plain.path) == ("decode_failed", "")
    assert (named.code, named.path) == ("bad_magic", "a.B/c")


def test_a_declaration_error_is_about_a_schema_and_no_record() -> None:
    """What a schema declares stops the route: as a record's verdict it would drain the topic into the dead letters."""
    assert not issubclass(errors.DeclarationError, errors.RecordError)
    assert errors.DeclarationError("n.A/email is not declared", path="n.A/email").path == "n.A/email"


def test_a_transient_error_carries_the_other_sides_wish() -> None:
    """`Retry-After` travels with the error."""
    assert errors.KeyServiceUnavailable("429", retry_after_s=7.0).retry_after_s == 7.0
