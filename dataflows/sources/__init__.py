"""Sources of records: log files and Kafka topics."""
