"""Evaluation of the warnings of a replay, from its outputs alone, next to trivial scores as baselines."""
