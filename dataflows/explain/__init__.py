"""The explanation of one user in a replay: a timeline, and the reasons of a chosen point."""
