"""Kafka sinks: at least once, exactly once, and dead letters."""
