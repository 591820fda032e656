"""A simulated platform, for demos, load and tests."""
