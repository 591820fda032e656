"""Scoring: which version scores a point, the tier that follows, and the explanation."""
