"""Users and channels: the state kept of each, and what an event changes in it."""
