"""What keeps the repository honest: checks of its documents, sources and files. Not part of the distribution."""
