"""The recovery store: who may use it, what it was written by, and the users it holds."""
