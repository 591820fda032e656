"""Settings and policy files: reading and validation, with one sentence for each error."""
