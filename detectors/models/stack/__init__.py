"""Stacking: other models combined by a meta-learner."""
