"""Sinks for events: Kafka topics, JSON lines, Parquet, memory."""
