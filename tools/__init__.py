"""Checks of the repository's documents, sources and files, and studies. Not part of the distribution."""
