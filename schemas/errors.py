"""The base of every error that a user can cause or meet, and whose text is the whole answer."""

from __future__ import annotations

from typing import ClassVar


class ExpectedError(Exception):
    """An error whose `problems` tell what is wrong, where, and what to do; an error of any other class is a bug."""

    transient: ClassVar[bool] = False
    """Whether a later try may succeed though nobody has mended anything; subclasses inherit it."""
    problems: tuple[str, ...] = ()
    """One sentence each; the text of the error is all of them, one a line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
