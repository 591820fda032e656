"""Scoring: selection of a point's model version, the resulting tier, and the explanation."""
