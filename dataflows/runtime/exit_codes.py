"""Exit codes: retry later, or fix something first."""

from __future__ import annotations

from enum import IntEnum

from schemas.errors import ExpectedError


class ExitCode(IntEnum):
    """Exit codes of commands. A code above 128 is 128 plus the signal's number."""

    DONE = 0
    BUG = 1
    """An unexpected error; for commands other than `run` also an error that has to be fixed."""
    USAGE = 2
    """The command line is wrong."""
    MEND = 3
    """Something has to be fixed first; a restart fails again."""
    TRY_AGAIN = 75
    """Something was temporarily unavailable; a later start may succeed (EX_TEMPFAIL of sysexits.h)."""


def code_of(error: ExpectedError) -> ExitCode:
    """Return the exit code of an expected error."""
    return ExitCode.TRY_AGAIN if error.transient else ExitCode.MEND


def expected(error: BaseException) -> ExpectedError | None:
    """Return the expected error in an error's chain of causes (the engine wraps errors), or None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ExpectedError):
        cause = cause.__cause__
    return cause
