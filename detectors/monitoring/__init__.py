"""Online evaluation: outcomes of served scores and warnings, and drift of model inputs and outputs.

A sample of the decision points, selected by the hash of their log position, and every warning that raised a tier stay
pending until their labels are *mature*: until the clock of their source partition has passed the horizon plus the
allowed lateness, within which an escalation may still arrive. Each is then labelled right or wrong once, by the
protocol of the evaluation: an escalation counts for items before it in the log, not for the point of its own event.

*Drift* is a change of the distribution of a model input or output. Reported values are counts that only grow and can be
summed, so they have the same meaning for one lane and for many.
"""
