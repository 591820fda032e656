"""Checks of the repository: documents, sources and files."""
