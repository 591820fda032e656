"""Where events go to: Kafka topics, JSON lines, Parquet, memory."""
