"""The released Avro schemas: which there are, how they evolve, and reading one datum."""
