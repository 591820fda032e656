"""The context of a message: what its channel was like when it came, and the signals read off that."""

from __future__ import annotations

from typing import NamedTuple

from detectors.features.signals import Signal

QUICK = 1800.0
"""An answer comes quickly if no more than this passed since the message (s)."""


class Context(NamedTuple):
    """A channel as a message finds it, before the message counts; NaN where nothing can be said.

    Nothing can be said by sums that have faded below `FADED`.

    `age` is how long the channel has been known (s); `rate` how many messages it has, decayed with a half-life of an
    hour; `newcomers` the share of messages whose user was not among the channel's latest, `sanctions` how many
    sanctions there are for a message by somebody who spoke here last, both decayed with one of 30 days; `toxicity` the
    mean of what scorers said, decayed like `rate`; `share` the user's own part of `rate`. Where others have spoken
    since the user's latest message here, `answered` is how long ago the first of them did (s), and `lag` how long that
    was after the user.
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
    """Add to a message's signals what its channel says of it."""
    if context.lag == context.lag:
        signals.append(("answer", 1.0))
        if context.lag <= QUICK:
            signals.append(("quick_answer", 1.0))
    if context.toxicity == context.toxicity:
        said = [amount for signal, amount in signals if signal == "toxicity"]
        signals.extend(("excess", amount - context.toxicity) for amount in said)
