"""The base class of every error that a user can cause or meet; its text is the complete answer."""

from __future__ import annotations

from typing import ClassVar


class ExpectedError(Exception):
    """An error whose `problems` state what is wrong, where, and what to do; an error of any other class is a bug."""

    transient: ClassVar[bool] = False
    """True if a later try may succeed without any repair; subclasses inherit it."""
    problems: tuple[str, ...] = ()
    """One sentence per problem; the text of the error has one of them per line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
