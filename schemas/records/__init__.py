"""The validated records that cross a topic."""
