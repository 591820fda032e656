"""Labels: the target, and the decision points that wait for their label."""
