"""Settings and policy files: read, checked, and refused with one sentence for each fault."""
