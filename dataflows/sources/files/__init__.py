"""Log files as sources: CSV, TSV, JSONL and Parquet."""
