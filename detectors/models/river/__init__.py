"""Models of River's: any classifier that a policy names, with its state as plain data."""
