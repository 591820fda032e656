"""Labels: the target, and decision points that wait until theirs is known."""
