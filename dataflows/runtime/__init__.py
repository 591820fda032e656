"""What any process here needs: clock, engine, logs, metrics, files, exit codes."""
