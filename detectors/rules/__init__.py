"""Rules: one detection per file, each with its runbook and what it is known to miss.

A rule looks at served features only, so it can be re-derived from a feature row like any other score. Its score is 1
when it fires, 0 when it does not, and None (insufficient history) where a feature it needs is absent.
"""
