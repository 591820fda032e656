"""What a command's exit code says: whether to try again, or to mend something first.

Every error that can be expected is in one table. Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from enum import IntEnum

from dataflows.broker_errors import AccessRefused, BrokerAway, BrokerError, TopicError
from dataflows.evaluation.outputs import EvaluationError
from dataflows.evidence import PromotionError
from dataflows.mapping_errors import MappingError
from dataflows.policy_file import PolicyError
from dataflows.produce import ProduceError
from dataflows.recovery_lock import StoreError
from dataflows.redrive import RedriveError
from dataflows.replay import ReplayError
from dataflows.run import RunError
from dataflows.settings import SettingsError
from dataflows.simulate import SimulationError
from dataflows.sinks.kafka import DeliveryFailed, DeliveryRefused, MessageTooLarge
from dataflows.sinks.transactions import FencedOutError, LeaseExpired
from dataflows.sources.kafka_partition import InputError
from dataflows.sources.rows import LogError
from dataflows.text_model import TextModelError
from dataflows.train_text import TrainingError
from detectors.storage import StateVersionError
from schemas.catalogue import CatalogueError
from schemas.registry import RegistryError, RegistryUnavailable, RegistryUnusable


class ExitCode(IntEnum):
    """What a command ends with. Above 128 it was a signal: 128 and its number."""

    DONE = 0
    BUG = 1
    """An error nobody expected; of commands other than `run` also one to be mended."""
    USAGE = 2
    """The command line is wrong."""
    MEND = 3
    """Something has to be mended first; to start again is in vain."""
    TRY_AGAIN = 75
    """Something was away for a while; a later start may do (EX_TEMPFAIL of sysexits.h)."""


EXPECTED: dict[type[Exception], ExitCode] = {
    AccessRefused: ExitCode.MEND,
    BrokerAway: ExitCode.TRY_AGAIN,
    BrokerError: ExitCode.TRY_AGAIN,
    CatalogueError: ExitCode.MEND,
    DeliveryFailed: ExitCode.TRY_AGAIN,
    DeliveryRefused: ExitCode.MEND,
    EvaluationError: ExitCode.MEND,
    FencedOutError: ExitCode.MEND,
    InputError: ExitCode.MEND,
    LeaseExpired: ExitCode.TRY_AGAIN,
    LogError: ExitCode.MEND,
    MappingError: ExitCode.MEND,
    MessageTooLarge: ExitCode.MEND,
    PolicyError: ExitCode.MEND,
    ProduceError: ExitCode.MEND,
    PromotionError: ExitCode.MEND,
    RedriveError: ExitCode.MEND,
    RegistryError: ExitCode.MEND,
    RegistryUnavailable: ExitCode.TRY_AGAIN,
    RegistryUnusable: ExitCode.MEND,
    ReplayError: ExitCode.MEND,
    RunError: ExitCode.MEND,
    SettingsError: ExitCode.MEND,
    SimulationError: ExitCode.MEND,
    StateVersionError: ExitCode.MEND,
    StoreError: ExitCode.MEND,
    TextModelError: ExitCode.MEND,
    TopicError: ExitCode.MEND,
    TrainingError: ExitCode.MEND,
}
"""Errors whose text is the answer, and the code each of them asks for."""


def code_of(error: Exception) -> ExitCode:
    """Return the code of an expected error: that of its class, or of the nearest one it is made from."""
    return next(EXPECTED[kind] for kind in type(error).__mro__ if kind in EXPECTED)


def expected(error: BaseException) -> Exception | None:
    """Return the expected error in an error, also where the engine wrapped it; None of any other."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Exception) and isinstance(cause, tuple(EXPECTED)):
            return cause
        cause = cause.__cause__
    return None
