"""Batch training of models that do not learn online."""
