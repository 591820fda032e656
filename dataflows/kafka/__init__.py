"""Shared parts of all Kafka clients: topics, partitions, headers, and the classification of errors."""
