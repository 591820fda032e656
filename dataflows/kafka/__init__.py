"""What every Kafka client here shares: topics, partitions, headers, and the meaning of errors."""
