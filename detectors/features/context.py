"""The context of a message: the state of its channel when it arrived, and the signals derived from it."""

from __future__ import annotations

from typing import NamedTuple

from detectors.features.signals import Signal

QUICK = 1800.0
"""An answer is quick if it came at most this long (s) after the user's message."""


class Context(NamedTuple):
    """The state of a channel before a message is counted there; NaN where a value cannot be computed.

    `share`, `newcomers` and `toxicity` cannot be computed from sums that have decayed below `FADED`.

    - `age`: time since the start of the channel's history (s)
    - `rate`: number of messages, decayed with a half-life of one hour
    - `newcomers`: share of messages whose user was not among the channel's latest users, decayed with a half-life of
      30 days
    - `sanctions`: sanctions per message, decayed with a half-life of 30 days; a sanction counts in the channel of the
      user's latest message
    - `toxicity`: mean toxicity of scored messages, decayed like `rate`
    - `share`: the user's own part of `rate`
    - `answered`: time since the first message by another user after the user's latest one here (s); NaN without one
    - `lag`: time from the user's latest message here to that first message (s); NaN without one
    """

    age: float
    rate: float
    newcomers: float
    sanctions: float
    toxicity: float
    share: float
    answered: float
    lag: float


def add_signals(signals: list[Signal], context: Context) -> None:
    """Append the signals that derive from a message's channel: `answer`, `quick_answer` and `excess`."""
    if context.lag == context.lag:
        signals.append(("answer", 1.0))
        if context.lag <= QUICK:
            signals.append(("quick_answer", 1.0))
    if context.toxicity == context.toxicity:
        said = [amount for signal, amount in signals if signal == "toxicity"]
        signals.extend(("excess", amount - context.toxicity) for amount in said)
