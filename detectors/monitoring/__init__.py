"""Evaluation while running: what came of scores and warnings, and whether what they rest on has changed.

A sample of the decision points, chosen by the hash of their place in the log, and every warning that raised a tier wait
until their labels are *mature*: until the clock of their source partition is past the horizon, and past the allowed
lateness on top, in which an escalation may still come in. Then each is right or wrong once and for all, by the
protocol of the evaluation: an escalation counts for what came before it in the log, not for its own event's point.

*Drift* is a change of a distribution that a model reads or writes. What is told are counts that only grow and may be
added up, so they mean the same for one lane and for many.
"""
