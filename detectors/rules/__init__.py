"""Rules: one detection per file, each with its runbook and its known gaps.

A rule reads served features only, so its score can be recomputed from a feature row like any other. Its score is 1
when it fires, 0 when it does not, and None (insufficient history) if a feature it needs is absent.
"""
