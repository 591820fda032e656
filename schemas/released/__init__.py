"""The released Avro schemas: their catalogue, their evolution rules, and reading of one datum."""
