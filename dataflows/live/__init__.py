"""The live run: one process or a cluster of them, supervised."""
