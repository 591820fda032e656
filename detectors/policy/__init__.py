"""The policy: the target of warnings, their thresholds and their limits."""
