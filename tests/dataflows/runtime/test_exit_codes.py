"""Exit codes tell *try again* from *mend it*, for every error of the project that can be expected."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest
from bytewax.errors import BytewaxRuntimeError
from confluent_kafka import KafkaError

import dataflows
import detectors
import evaluation
import schemas
from dataflows.cli.common import Failure, answered
from dataflows.kafka.broker_errors import AccessRefused, BrokerAway, TopicError, away_or_denied
from dataflows.runtime.exit_codes import ExitCode, code_of, expected
from dataflows.sinks.kafka.producer import DeliveryFailed, DeliveryRefused, MessageTooLarge, delivery_error
from dataflows.sinks.kafka.transactions import FencedOutError, LeaseExpired
from schemas.errors import ExpectedError
from schemas.registry.settings import RegistryError, RegistryUnavailable, RegistryUnusable

INTERNAL = {
    "dataflows.cli.common.Failure",  # the answer itself
    "dataflows.mapping.canonical.MissingColumnError",  # becomes a sentence of the log that is read
    "dataflows.mapping.cells.UnmappableError",  # becomes a reject
    "dataflows.runtime.atomic.BusyError",  # becomes a sentence of the command that writes
    "dataflows.sources.files.csv_rows._OpenQuoteError",  # becomes a reject
    "dataflows.sources.files.parquet_rows._UnreadableError",  # becomes a reject
    "dataflows.runtime.text_files.TextError",  # becomes a sentence of whoever reads the file
    "dataflows.reports.drawing.CannotDrawError",  # becomes a report without pictures
    "detectors.checks.CheckFailed",  # a test's finding
    "schemas.released.datum._HazardError",  # becomes a sentence of the registry's
    "schemas.codec.framing._NonFiniteError",  # becomes a reject
    "schemas.records.refusal.UnreadableError",  # becomes a reject
}
"""Exceptions that do not leave the code that raises them, each with what becomes of it."""


def modules(package: ModuleType) -> list[ModuleType]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(module.name) for module in found]


def exceptions() -> dict[str, type[Exception]]:
    """Every exception class of the project, by where it is defined."""
    return {
        f"{module.__name__}.{name}": kind
        for package in (schemas, detectors, evaluation, dataflows)
        for module in modules(package)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == module.__name__
    }


def test_every_exception_of_the_project_has_an_exit_code_or_stays_inside() -> None:
    """A new one is an expected error, or is put into the list above with a reason."""
    found = exceptions()
    assert len(found) > 25
    assert {name for name, kind in found.items() if not issubclass(kind, ExpectedError)} == INTERNAL


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BrokerAway("x"), ExitCode.TRY_AGAIN),
        (DeliveryFailed("x"), ExitCode.TRY_AGAIN),
        (LeaseExpired("x"), ExitCode.TRY_AGAIN),
        (RegistryUnavailable("x"), ExitCode.TRY_AGAIN),
        (AccessRefused("x"), ExitCode.MEND),
        (TopicError("x"), ExitCode.MEND),
        (DeliveryRefused("x"), ExitCode.MEND),
        (MessageTooLarge("x"), ExitCode.MEND),
        (FencedOutError("x"), ExitCode.MEND),
        (RegistryError("x"), ExitCode.MEND),
        (RegistryUnusable("x"), ExitCode.MEND),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_waiting_cures_is_told_from_what_it_does_not(error: Exception, code: ExitCode) -> None:
    """A class answers for itself, whatever it is made from."""
    assert code_of(error) == code


def test_a_class_that_nobody_listed_has_the_code_of_its_parent() -> None:
    """So that an error raised by an extension is answered as its kind is."""
    own = type("OwnError", (TopicError,), {})
    assert code_of(own("x")) == ExitCode.MEND


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, DeliveryRefused),
        (KafkaError.MSG_SIZE_TOO_LARGE, MessageTooLarge),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, DeliveryRefused),
        (KafkaError._MSG_TIMED_OUT, DeliveryFailed),
        (None, DeliveryFailed),
    ],
)
def test_a_delivery_fails_by_what_kafka_says(code: int | None, kind: type[DeliveryFailed]) -> None:
    """What it will refuse again is to be mended; no answer is not."""
    assert delivery_error(code) is kind


def test_a_request_fails_by_what_kafka_says() -> None:
    """Missing rights are to be mended; a time-out is waited for."""
    assert away_or_denied(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)) is AccessRefused
    assert away_or_denied(KafkaError(KafkaError._TIMED_OUT)) is BrokerAway


def wrapped(cause: Exception) -> BytewaxRuntimeError:
    """An error as the engine wraps it."""
    error = BytewaxRuntimeError("a step failed")
    error.__cause__ = cause
    return error


def test_an_expected_error_is_found_in_what_the_engine_made_of_it() -> None:
    """A bug is not: it keeps its traceback."""
    cause = TopicError("gone")
    assert expected(wrapped(cause)) is cause
    assert expected(wrapped(ValueError("a bug"))) is None


@pytest.mark.parametrize(
    ("error", "mend", "code"),
    [
        (TopicError("gone"), ExitCode.MEND, 3),
        (TopicError("gone"), ExitCode.BUG, 1),
        (BrokerAway("away"), ExitCode.MEND, 75),
        (BrokerAway("away"), ExitCode.BUG, 75),
        (wrapped(RegistryError("refused")), ExitCode.MEND, 3),
    ],
)
def test_a_command_answers_with_one_sentence_and_the_code(error: Exception, mend: ExitCode, code: int) -> None:
    """What is to be mended is 3 of a run and 1 of other commands; what may be tried again is 75 of all."""
    with pytest.raises(Failure) as failure, answered(mend):
        raise error
    assert (failure.value.code, failure.value.problems) == (code, (str(expected(error)),))
