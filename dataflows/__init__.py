"""Runtime: sources, the dataflow, sinks, and the commands that connect them.

`detect.build_flow` builds the dataflow; `run` connects it to Kafka, `replay` to a file, tests to a list. *Late* is an
Event behind its user's clock by more than the policy's allowed lateness; a *lane* is a fixed hash bucket of users.
"""
