"""The recovery store: locking, access checks, compatibility with a run, and the states of users."""
