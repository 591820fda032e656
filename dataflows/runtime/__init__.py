"""Infrastructure common to all processes: clock, engine, logs, metrics, files, exit codes."""
