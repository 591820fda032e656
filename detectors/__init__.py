"""Features, labels, models and scores of users, one event at a time, without I/O, wall clock or environment.

A *Signal* is a number or key read from one event. A *Profile* aggregates a user's signals; a *Feature* is a declared
column computed from it. A *DecisionPoint* is the moment a score is due. A *Score* is the calibrated probability that
the user escalates within the horizon, or *insufficient history*, which is None and not zero. `decide` derives the tier
from the scores. All times are event times in milliseconds.
"""
