"""The live run: one process, or a supervised cluster of processes."""
