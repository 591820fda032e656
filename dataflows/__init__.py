"""How it runs: sources, the one dataflow, sinks, and the commands that join them.

`detect.build_flow` is the spine; `run` gives it Kafka, `replay` a file, tests a list. *Late* is an Event behind its
user's clock by more than the policy's allowed lateness; a *lane* is a fixed hash bucket of users.
"""
