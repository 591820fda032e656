"""The policy: what to warn of, when, and how many warnings are allowed."""
