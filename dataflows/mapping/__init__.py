"""Mapping files, which declare how the rows of an arbitrary log become events."""
