"""Exit codes: try again, or mend something first."""

from __future__ import annotations

from enum import IntEnum

from schemas.errors import ExpectedError


class ExitCode(IntEnum):
    """Exit codes of commands. A code above 128 is 128 plus the signal's number."""

    DONE = 0
    BUG = 1
    """An error nobody expected; of commands other than `run` also one to be mended."""
    USAGE = 2
    """The command line is wrong."""
    MEND = 3
    """Something has to be mended first; to start again is in vain."""
    TRY_AGAIN = 75
    """Something was away for a while; a later start may do (EX_TEMPFAIL of sysexits.h)."""


def code_of(error: ExpectedError) -> ExitCode:
    """Return the code of an expected error."""
    return ExitCode.TRY_AGAIN if error.transient else ExitCode.MEND


def expected(error: BaseException) -> ExpectedError | None:
    """Return the expected error in an error, also where the engine wrapped it; None of any other."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ExpectedError):
        cause = cause.__cause__
    return cause
