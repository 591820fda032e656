"""Checks of the released schemas: agreement, compatibility, corpus and lock."""
