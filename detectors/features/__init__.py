"""Declared features over signals, and the bounded per-user profiles that compute them.

Sawtooth windows have an exact head and a tail that advances in hops. At clock `now` a window of span W and hop h covers
every event time from `floor((now - W) / h) * h` up to and including `now`: at least W, less than W + h. A decay of
half-life h weights an event of age a by `2 ** (-a / h)`. Absent values are NaN, never zero.
"""
