"""Mapping files: how the rows of an arbitrary log become events."""
