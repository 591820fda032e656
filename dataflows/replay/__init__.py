"""Replays of a log: the run, its summary and its quality figures."""
