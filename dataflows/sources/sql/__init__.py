"""Logs read through a mapping in SQL, which DuckDB runs."""
